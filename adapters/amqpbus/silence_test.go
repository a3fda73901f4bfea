package amqpbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// TestSilenceFromTheStartIsNoticed: by a connection on which the broker has said
// nothing since it was made, after one and a half of the agreed heartbeats.
func TestSilenceFromTheStartIsNoticed(t *testing.T) {
	t.Parallel()
	for offered, want := range map[uint16]time.Duration{
		60: 15 * time.Second, // what RabbitMQ offers; ours is shorter
		0:  15 * time.Second,
		5:  7500 * time.Millisecond,
	} {
		t.Run(fmt.Sprintf("the broker offers %d s", offered), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, err := New(Config{URL: secret.New("amqp://u:p@broker:5672/"), Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				ours, theirs := net.Pipe()
				met := make(chan error, 1)
				go func() { met <- welcome(theirs, offered) }()
				socket := lastWord{ours}
				conn, err := b.publish.greet(t.Context(), socket)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err = b.publish.hold(ctx, conn, socket)
				if took := time.Since(began); took != want || err == nil || !strings.Contains(err.Error(), os.ErrDeadlineExceeded.Error()) {
					t.Errorf("after %v: %v; want a missed deadline after %v", took, err, want)
				}
				if err := <-met; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// lastWord changes all deadlines only when everybody else has, which is an order
// that happens.
type lastWord struct{ net.Conn }

func (c lastWord) SetDeadline(at time.Time) error {
	time.Sleep(time.Nanosecond) // in a bubble: until everybody else waits
	return c.Conn.SetDeadline(at)
}

// welcome is a broker that lets anybody in and then says nothing.
func welcome(c net.Conn, heartbeat uint16) error {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 8)); err != nil {
		return fmt.Errorf("the protocol's header: %w", err)
	}
	for _, step := range []struct {
		says  []byte // class, method, arguments
		hears int    // frames, until the next step
	}{
		// start: version 0.9, no properties, PLAIN, en_US
		{says: append([]byte{0, 10, 0, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5}, "PLAIN\x00\x00\x00\x05en_US"...), hears: 1},
		// tune: 2047 channels, frames of 128 KiB
		{says: binary.BigEndian.AppendUint16([]byte{0, 10, 0, 30, 7, 255, 0, 2, 0, 0}, heartbeat), hears: 2},
		// open-ok
		{says: []byte{0, 10, 0, 41, 0}},
	} {
		frame := binary.BigEndian.AppendUint32([]byte{1, 0, 0}, uint32(len(step.says)))
		if _, err := c.Write(append(append(frame, step.says...), 0xce)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		for range step.hears {
			head := make([]byte, 7)
			if _, err := io.ReadFull(c, head); err != nil {
				return fmt.Errorf("a frame's head: %w", err)
			}
			if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[3:]))+1); err != nil {
				return fmt.Errorf("a frame: %w", err)
			}
		}
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("heartbeats: %w", err)
	}
	return nil
}
