package kubetenant

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/rate"
)

var (
	errTooLarge = errors.New("an answer is larger than the platform takes in")
	errForm     = errors.New("a watch is answered in another form than was asked for")
	errEndless  = errors.New("a list does not end")
)

// bounds are how much a tenant may say: in one answer, in one event of a watch,
// and over time. They count what comes out of a compressed answer.
type bounds struct {
	next http.RoundTripper
	c    Config
	flow *flow // shared by all connections to the tenant
}

// RoundTrip hands on an answer whose body has an end.
func (b bounds) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body := &limited{ReadCloser: a.Body, ctx: r.Context(), flow: b.flow, left: b.c.MaxObjectBytes}
	asked := r.URL.Query()
	room, given := r.Context().Value(roomKey{}).(int64)
	switch {
	case a.StatusCode != http.StatusOK: // says why not
	case asked.Get("watch") != "":
		// Another form would be taken apart by a reader that keeps what it reads
		// until an object ends, which need never be.
		if form, options, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); form != protobuf || options["stream"] != "watch" {
			a.Body.Close()
			return nil, errForm
		}
		body.frames = &frames{most: b.c.MaxEventBytes}
	case given:
		body.left = room
	case asked.Get("limit") != "":
		body.left = b.c.MaxPageBytes
	}
	a.Body = body
	return a, nil
}

type roomKey struct{}

// withRoom says how long an answer may be that is not kept.
func withRoom(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, roomKey{}, bytes)
}

// CloseIdleConnections lets http.Client reach what it would without bounds.
func (b bounds) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// limited is a body that ends, or, with frames, one whose parts do.
type limited struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request, whose body this is
	flow   *flow
	left   int64
	frames *frames
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	cost := n
	if l.frames != nil {
		var begun int
		if begun, n, err = l.frames.pass(p[:n], err); begun > 0 {
			cost = max(n, begun*eventCost)
		}
	} else if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", errTooLarge, l.left+int64(n))
	}
	if paid := l.flow.pay(l.ctx, cost); paid != nil {
		return n, paid
	}
	return n, err
}

// eventCost is what an event costs at least: many small ones are as much work
// as a large one.
const eventCost = 4 << 10

// frames follows the parts of a stream: each is four bytes that tell its
// length, and that many bytes.
type frames struct {
	most int64
	head [4]byte
	have int
	left int64
}

// pass returns how many parts begin in p, and how much of p is good.
func (f *frames) pass(p []byte, end error) (begun, good int, err error) {
	for rest := p; len(rest) > 0; {
		if f.left > 0 {
			n := min(f.left, int64(len(rest)))
			f.left -= n
			rest = rest[n:]
			continue
		}
		n := copy(f.head[f.have:], rest)
		f.have += n
		if f.have == len(f.head) {
			f.have, f.left = 0, int64(binary.BigEndian.Uint32(f.head[:]))
			begun++
			if f.left > f.most {
				return begun, len(p) - len(rest), fmt.Errorf("%w: an event of %d bytes", errTooLarge, f.left)
			}
		}
		rest = rest[n:]
	}
	return begun, len(p), end
}

// flow bounds what is read of a tenant over time, and with it the work that
// the tenant makes.
type flow struct {
	mu     sync.Mutex
	bucket *rate.Bucket
	now    func() time.Time
}

// pay waits as long as n bytes more than was left take.
func (f *flow) pay(ctx context.Context, n int) error {
	f.mu.Lock()
	now := f.now()
	f.bucket.Spend(now, float64(n))
	wait := f.bucket.Wait(now, 0)
	f.mu.Unlock()
	if wait > 0 && !pause(ctx, wait) {
		return ctx.Err()
	}
	return nil
}
