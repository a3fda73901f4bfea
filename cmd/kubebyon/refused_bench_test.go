package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkRefusedSignIns has one address try wrong passwords after its limit has
// been reached, and looks at the processor time that the running program needs
// for them. Target: 100 a second take less than one percent of a core. What a
// connection for each costs besides is measured without a target: it is the
// system's, which on one machine counts part of the client's share too.
func BenchmarkRefusedSignIns(b *testing.B) {
	const tries, target = 4000, 1.0
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	s := startServer(b, b.TempDir(), plane, "--log-level", "info", "--auth-rate-limit-window-seconds", "3600")
	const body = `{"email":"admin@kubebyon.local","password":"wrong wrong wrong"}`
	request := fmt.Sprintf("POST /api/auth/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", s.addr, len(body), body)
	tryAll(b, s.addr, request, 5, http.StatusUnauthorized, false)
	for name, fresh := range map[string]bool{"OneConnection": false, "AConnectionEach": true} {
		b.Run(name, func(b *testing.B) {
			before := processorTime(b, s.cmd.Process.Pid)
			tryAll(b, s.addr, request, tries*b.N, http.StatusTooManyRequests, fresh)
			each := (processorTime(b, s.cmd.Process.Pid) - before) / time.Duration(tries*b.N)
			percent := 100 * 100 * each.Seconds()
			b.ReportMetric(float64(each.Nanoseconds())/1000, "cpu-µs/refusal")
			b.ReportMetric(percent, "%core-at-100/s")
			if !fresh && percent >= target {
				b.Errorf("100 refusals a second take %.2f %% of a core; the target is under 1", percent)
			}
		})
	}
}

// tryAll sends one request n times, one after the other.
func tryAll(b *testing.B, addr, request string, n, status int, fresh bool) {
	b.Helper()
	var conn net.Conn
	var in *bufio.Reader
	for i := range n {
		if fresh || i == 0 {
			if conn != nil {
				conn.Close()
			}
			var err error
			if conn, err = net.Dial("tcp", addr); err != nil {
				b.Fatal(err)
			}
			in = bufio.NewReader(conn)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			b.Fatal(err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err != nil || answer.StatusCode != status {
			b.Fatalf("number %d: status %d, want %d: %v", i+1, answer.StatusCode, status, err)
		}
	}
	conn.Close()
}

// processorTime is what a process has used so far, in user space and in the
// kernel (proc(5): fields 14 and 15 of stat, in hundredths of a second).
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the program's name may hold blanks
	fields := strings.Fields(rest)
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
