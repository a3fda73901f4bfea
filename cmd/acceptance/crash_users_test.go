package acceptance_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"syscall"
	"time"
)

// resident is a person who has one cluster after the other, and holds the
// installation to what it has acknowledged.
type resident struct {
	s      *siege
	client *client
	n      int
	r      *rand.Rand
	round  int
	now    *owned
	gone   []*owned
}

// owned is what was acknowledged of a cluster.
type owned struct {
	id, name string
	hasty    bool // deleted without a look whether it came up
	updates  int
	settings object // of the last update
	gone     bool
}

var errEnding = errors.New("it is time to end")

// live goes on until the last blow.
func (u *resident) live() error {
	for {
		err := u.cycle()
		if errors.Is(err, errEnding) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("user %d, cluster %d: %w", u.n, u.round, err)
		}
	}
}

func (u *resident) cycle() error {
	u.round++
	u.now = &owned{name: fmt.Sprintf("user-%d-%d", u.n, u.round), hasty: u.r.IntN(5) == 0}
	steps := []func() error{u.create}
	if !u.now.hasty {
		if u.r.IntN(2) == 0 {
			steps = append(steps, u.update) // on the way up
		}
		steps = append(steps, u.isUpSoon, u.update, u.isUpSoon)
	}
	for _, step := range append(steps, u.remove) {
		select {
		case <-u.s.ending:
			return errEnding
		default:
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (u *resident) create() error {
	a, err := u.ask("POST", "/api/console/clusters", u.now.name, object{"name": u.now.name})
	if err := errors.Join(err, a.want(http.StatusCreated)); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	u.now.id = a.in("cluster", "id")
	u.s.count("operations asked for")
	return nil
}

// update changes something each time; some changes take the control plane another
// process.
func (u *resident) update() error {
	u.now.updates++
	set := object{"control_plane_cpu_request_milli_cores": float64(100 + 10*u.now.updates)}
	if u.r.IntN(3) == 0 {
		set["control_plane_host"] = "localhost"
	}
	a, err := u.ask("PUT", "/api/console/clusters/"+u.now.id, "", set)
	if err := errors.Join(err, a.want(http.StatusOK)); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	u.now.settings = set
	u.s.count("operations asked for")
	return nil
}

func (u *resident) isUpSoon() error { return u.soon("up", u.isUp) }

// soon waits for as long as blows are dealt, and a good while more.
func (u *resident) soon(what string, look func() error) error {
	for since := time.Now(); ; {
		err := await(u.s.ctx, 5*time.Second, look)
		if err == nil || u.s.ctx.Err() != nil {
			return err
		}
		if time.Since(since) > 2*calmWithin {
			return fmt.Errorf("not %s: %w", what, err)
		}
	}
}

// isUp says why the cluster is not ready, not as the last update wants it, or
// has an operation that has not succeeded.
func (u *resident) isUp() error {
	a, err := u.send("GET", "/api/console/clusters/"+u.now.id, "", nil)
	if err := errors.Join(err, a.want(http.StatusOK)); err != nil {
		return err
	}
	if err := u.operationsTell(); err != nil {
		return err
	}
	if a.in("cluster", "status") != "ready" || a.in("cluster", "connection_status") != "reachable" {
		return fmt.Errorf("the cluster is not up: %s", a.text)
	}
	for name, want := range u.now.settings {
		if got := dig(a.body, "cluster", name); got != want {
			u.s.found(fmt.Errorf("%s is %v, and %v was acknowledged", name, got, want))
		}
	}
	return nil
}

// operationsTell compares the cluster's history with what was acknowledged.
func (u *resident) operationsTell() error {
	a, err := u.send("GET", "/api/console/clusters/"+u.now.id+"/operations", "", nil)
	if err := errors.Join(err, a.want(http.StatusOK)); err != nil {
		return err
	}
	for _, kind := range []string{"operations", "jobs"} {
		got := map[any]int{}
		for _, o := range a.list(kind) {
			got[o["type"]]++
			if o["status"] == "failed" {
				u.s.found(fmt.Errorf("one of the %s has failed: %v", kind, o))
			}
			if o["status"] != "succeeded" || kind == "operations" && o["stage"] != "done" {
				return fmt.Errorf("one of the %s is not done: %v", kind, o)
			}
		}
		// An update whose answer was lost may have been asked for more than once.
		if got["create"] != 1 || got["update"] < u.now.updates || got["delete"] != 0 {
			return fmt.Errorf("the %s are %v, with %d updates acknowledged", kind, got, u.now.updates)
		}
	}
	return nil
}

func (u *resident) remove() error {
	a, err := u.ask("DELETE", "/api/console/clusters/"+u.now.id, "", nil)
	if err != nil || a.status != http.StatusAccepted && a.status != http.StatusNotFound {
		return fmt.Errorf("delete: %w", errors.Join(err, a.want(http.StatusAccepted)))
	}
	u.s.count("operations asked for")
	err = u.soon("gone", func() error {
		a, err := u.send("GET", "/api/console/clusters/"+u.now.id, "", nil)
		if a.in("cluster", "status") == "error" {
			u.s.found(fmt.Errorf("the deletion has failed: %s", a.text))
		}
		return errors.Join(err, a.want(http.StatusNotFound))
	})
	if err != nil {
		return err
	}
	u.s.count("clusters deleted")
	u.now.gone = true
	u.gone = append(u.gone, u.now)
	return u.soon("gone from the host", func() error { return u.s.nothingOf(u.now.name) })
}

// leave deletes what is there, after a last look at it.
func (u *resident) leave() error {
	if u.now == nil || u.now.id == "" || u.now.gone {
		return nil
	}
	if !u.now.hasty {
		if err := u.isUpSoon(); err != nil {
			return err
		}
	}
	return u.remove()
}

// ask sends a request until there is an answer, as a careful client does: what
// creates has an Idempotency-Key.
func (u *resident) ask(method, path, key string, body any) (a answer, err error) {
	err = u.soon("answered", func() error {
		u.s.asks()
		var err error
		a, err = u.send(method, path, key, body)
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, syscall.ECONNREFUSED):
			return err
		case err != nil:
			u.s.count("answers lost")
			return err
		case a.status == http.StatusInternalServerError:
			u.s.found(fmt.Errorf("%s %s: %s", method, path, a.text))
		case a.status > http.StatusInternalServerError || a.status == http.StatusConflict && slices.Contains([]string{"idempotency_in_progress", "stale_version"}, a.in("code")):
			u.s.count("put off: " + a.in("code"))
			return a.want(http.StatusOK)
		}
		return nil
	})
	u.s.count("requests acknowledged")
	return a, err
}

// send asks either server.
func (u *resident) send(method, path, key string, body any) (answer, error) {
	return u.client.send(u.s.ctx, method, u.s.servers[u.r.IntN(len(u.s.servers))].url+path, key, body)
}
