package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is what came of many clients asking at once.
type load struct {
	perSecond float64
	p50, p99  time.Duration
}

// hammer has clients send one request over and over for a while, each on a
// connection of its own, and fails b when an answer's status is another. It
// reads answers with as little work as it can: the clients of a real server
// have machines of their own.
func hammer(b *testing.B, addr, request string, status, clients int, during time.Duration) load {
	b.Helper()
	var stop atomic.Bool
	time.AfterFunc(during, func() { stop.Store(true) })
	times, errs := make([][]time.Duration, clients), make([]error, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wg.Go(func() { times[i], errs[i] = repeat(addr, request, status, &stop) })
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if len(all) == 0 {
		b.Fatal("nobody was answered")
	}
	return load{float64(len(all)) / took.Seconds(), all[len(all)/2], all[len(all)*99/100]}
}

func repeat(addr, request string, status int, stop *atomic.Bool) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for !stop.Load() {
		start := time.Now()
		if _, err := io.WriteString(conn, request); err != nil {
			return nil, err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err != nil || answer.StatusCode != status {
			return nil, fmt.Errorf("status %d, want %d: %w", answer.StatusCode, status, err)
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// BenchmarkGetCluster asks the running program for one cluster, as its signed-in
// owner, over PostgreSQL. Target: at least 3,000 a second on two cores, which
// the database and the clients share.
func BenchmarkGetCluster(b *testing.B) {
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	data := b.TempDir()
	s := startServer(b, data, plane, "--database-url", freshPostgres(b), "--log-level", "info")
	c := signIn(b, s, data)
	id := c.createCluster("bench")
	c.awaitReachable(id, time.Minute)
	request := c.raw(b, http.MethodGet, "/api/console/clusters/"+id)
	for range b.N {
		for _, clients := range []int{1, 8, 64} {
			got := hammer(b, s.addr, request, http.StatusOK, clients, 3*time.Second)
			if clients == 8 && got.perSecond < 3000 {
				b.Errorf("%.0f requests a second at 8 clients; the target is 3,000", got.perSecond)
			}
			name := fmt.Sprintf("-%d", clients)
			b.ReportMetric(got.perSecond, "req/s"+name)
			b.ReportMetric(float64(got.p50.Microseconds())/1000, "p50-ms"+name)
			b.ReportMetric(float64(got.p99.Microseconds())/1000, "p99-ms"+name)
		}
	}
}

// raw is a request as this client would send it.
func (c *client) raw(b *testing.B, method, path string) string {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, c.url+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, cookie := range c.http.Jar.Cookies(r.URL) {
		r.AddCookie(cookie)
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		b.Fatal(err)
	}
	return text.String()
}
