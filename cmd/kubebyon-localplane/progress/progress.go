// Package progress tells the process that started this one how far it has come: one JSON object
// a line on standard output, and nothing else there.
//
// Every line has stage, at (RFC 3339 with milliseconds, UTC) and elapsed_ms (since the process
// was started, not since main). A stage comes at most once and in order. The line with stage
// failed is the last one and has a reason, a plain sentence; the exit code is then not 0. A
// process that ends without it was killed or crashed.
package progress

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Stage is how far a process has come.
type Stage string

// The stages of a tenant, then those of a node; a host has those of a tenant but for JoinReady.
// Failed ends all of them.
const (
	EtcdReady      Stage = "etcd_ready"
	APIServerReady Stage = "apiserver_ready"
	JoinReady      Stage = "join_ready"

	Discovered   Stage = "discovered"
	Bootstrapped Stage = "bootstrapped"
	Registered   Stage = "registered"

	Ready  Stage = "ready"
	Failed Stage = "failed"
)

const timestamp = "2006-01-02T15:04:05.000Z07:00"

type line struct {
	Stage     Stage  `json:"stage"`
	At        string `json:"at"`
	ElapsedMS int64  `json:"elapsed_ms"`
	Reason    string `json:"reason,omitempty"`
	*Host
}

// Host is what the line that says ready of a host cluster has besides.
type Host struct {
	Kubeconfig string `json:"kubeconfig"` // path of a file
	Ingress    string `json:"ingress"`    // host:port that takes TLS for the hosts of every Ingress
	Metrics    bool   `json:"metrics"`    // whether it serves metrics.k8s.io
}

// Reporter writes the lines. It may be used by many goroutines.
type Reporter struct {
	mu      sync.Mutex
	out     *json.Encoder
	started time.Time
	now     func() time.Time
	done    map[Stage]bool
}

// To makes a reporter that counts from started.
func To(w io.Writer, started time.Time, now func() time.Time) *Reporter {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return &Reporter{out: out, started: started, now: now, done: map[Stage]bool{}}
}

// Reached reports a stage. A reader that has gone away is no reason to stop.
func (r *Reporter) Reached(stage Stage) { r.write(stage, "", nil) }

// HostReady reports that a host cluster is ready, and where to find it.
func (r *Reporter) HostReady(host Host) { r.write(Ready, "", &host) }

// Fail reports why the process ends.
func (r *Reporter) Fail(reason string) { r.write(Failed, reason, nil) }

func (r *Reporter) write(stage Stage, reason string, host *Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done[stage] || r.done[Failed] {
		return
	}
	r.done[stage] = true
	now := r.now()
	_ = r.out.Encode(line{
		Stage: stage, At: now.UTC().Format(timestamp),
		ElapsedMS: now.Sub(r.started).Milliseconds(), Reason: reason, Host: host,
	})
}
