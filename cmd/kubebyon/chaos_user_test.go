package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// chaosUser is a person who works on one cluster after the other, and holds the
// server to what it has acknowledged.
type chaosUser struct {
	c     *chaos
	n     int
	r     *rand.Rand
	round int
	seen  atomic.Int64 // the server's start after which all was seen to be well
	doing atomic.Value // the step, for people

	now  *promised
	gone []*promised
}

// promised is what was acknowledged of a cluster.
type promised struct {
	id, name string
	hasty    bool // deleted without a look whether it came up
	updates  int
	settings object // of the last update
	port     string
	tenant   *tenantAPI
	tokens   []*promisedToken
	node     *promisedNode
	gone     bool
}

type promisedToken struct {
	id, value, secret string
	over              string // why it serves no more, as the join script says; empty: it does
}

type promisedNode struct {
	id, name, dir             string
	cordoned, drained, erased bool
}

var errEnding = errors.New("it is time to end")

// work goes on until the last kill has been survived.
func (u *chaosUser) work() error {
	for {
		err := u.cycle()
		if errors.Is(err, errEnding) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("user %d, cluster %d, at %v: %w", u.n, u.round, u.doing.Load(), err)
		}
	}
}

// step is one of a user's. Between any two the user makes sure that after a
// restart all is as it was promised.
func (u *chaosUser) step(name string, do func() error) error {
	if err := u.look(); err != nil {
		return err
	}
	select {
	case <-u.c.ending:
		return errEnding
	default:
	}
	u.doing.Store(name)
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// look does nothing while the server is the one that was looked at last.
func (u *chaosUser) look() error {
	start := u.c.started()
	if u.seen.Load() == int64(start) {
		return nil
	}
	if err := u.c.awaitTrue(u.isAsPromised); err != nil {
		return fmt.Errorf("after a restart: %w", err)
	}
	u.seen.Store(int64(start))
	return nil
}

func (u *chaosUser) cycle() error {
	u.round++
	u.now = &promised{name: fmt.Sprintf("user-%d-%d", u.n, u.round), hasty: u.r.IntN(6) == 0}
	updateAt := u.r.IntN(3)
	steps := []func() error{u.create}
	if u.now.hasty {
		return u.inTurn(append(steps, u.remove))
	}
	if updateAt == 0 {
		steps = append(steps, u.update)
	}
	steps = append(steps, u.provision)
	if updateAt == 1 {
		steps = append(steps, u.update)
	}
	steps = append(steps, u.token, u.join)
	if updateAt == 2 {
		steps = append(steps, u.update)
	}
	steps = append(steps, u.script, u.runPod, u.cordon, u.drain, u.revoke)
	if u.r.IntN(2) == 0 {
		steps = append(steps, u.uncordon)
	} else {
		steps = append(steps, u.deleteNode)
	}
	return u.inTurn(append(steps, u.remove))
}

func (u *chaosUser) inTurn(steps []func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// finish looks at all once more and deletes what is there.
func (u *chaosUser) finish() error {
	u.seen.Store(0)
	err := u.look()
	if err == nil && u.now != nil && u.now.id != "" && !u.now.gone {
		err = u.erase()
	}
	if err != nil {
		return fmt.Errorf("user %d at the end: %w", u.n, err)
	}
	return nil
}

func (u *chaosUser) create() error {
	return u.step(stepCreate, func() error {
		u.c.named(u.now.name)
		a, err := u.ask(stepCreate, "POST", "/api/console/clusters", u.now.name, object{"name": u.now.name})
		if err == nil {
			err = a.want(http.StatusCreated)
		}
		if err != nil {
			return err
		}
		u.now.id = a.in("cluster", "id")
		u.c.did("cluster", "create_requested", u.now.id)
		return nil
	})
}

// provision waits for the cluster to be of use, and gets its kubeconfig.
func (u *chaosUser) provision() error {
	return u.step(stepProvision, func() error {
		u.c.takes(stepProvision)
		if err := u.c.awaitTrue(u.isUp); err != nil {
			return err
		}
		a, err := u.ask("kubeconfig", "POST", "/api/console/clusters/"+u.now.id+"/kubeconfig", "", object{"password": adminPassword(u.c.t, u.c.data)})
		if err == nil {
			err = a.want(http.StatusOK)
		}
		if err != nil {
			return err
		}
		u.c.did("cluster", "kubeconfig_read", u.now.id).orMore(a.unsure)
		u.now.tenant, err = openTenant(a.in("kubeconfig"))
		return err
	})
}

// update changes something each time; half of the times the control plane has to
// be started anew for it.
func (u *chaosUser) update() error {
	return u.step(stepUpdate, func() error {
		u.now.updates++
		set := object{"workload_cpu_limit_milli_cores": float64(3000 + u.r.IntN(1000)*10 + u.now.updates)}
		if u.r.IntN(2) == 0 {
			set["control_plane_host"] = "localhost"
		}
		a, err := u.ask(stepUpdate, "PUT", "/api/console/clusters/"+u.now.id, "", set)
		if err == nil {
			err = a.want(http.StatusOK)
		}
		if err != nil {
			return err
		}
		u.now.settings = set
		u.c.did("cluster", "settings_update_requested", u.now.id)
		if u.now.tenant == nil {
			return nil
		}
		return u.c.awaitTrue(u.isUp)
	})
}

func (u *chaosUser) mint(step string) (*promisedToken, error) {
	a, err := u.ask(step, "POST", "/api/console/clusters/"+u.now.id+"/join-token", fmt.Sprintf("%s-%d", u.now.id, len(u.now.tokens)), object{})
	if err == nil {
		err = a.want(http.StatusCreated)
	}
	if err != nil {
		return nil, err
	}
	t := &promisedToken{id: a.in("token", "id"), value: a.in("token", "value"), secret: a.in("token", "bootstrap_secret_name")}
	u.c.did("token", "create", t.id)
	u.now.tokens = append(u.now.tokens, t)
	return t, nil
}

func (u *chaosUser) token() error {
	return u.step(stepToken, func() error {
		_, err := u.mint(stepToken)
		return err
	})
}

// join runs the script that the server gives out until the machine is a node. A
// token that a machine has begun to join with must not be lost to it.
func (u *chaosUser) join() error {
	return u.step(stepJoin, func() error {
		t := u.now.tokens[0]
		name := fmt.Sprintf("w%d-%d", u.n, u.round)
		n := &promisedNode{name: name, dir: filepath.Join(u.c.home, name)}
		var said []string // by the scripts
		err := u.c.awaitTrue(func() error {
			u.c.takes(stepJoin)
			u.c.count("join scripts run")
			began := time.Now()
			out, err := u.runScript(t.value, n)
			if d := time.Since(began); d > 5*time.Second {
				u.c.t.Logf("user %d, cluster %d: a join script took %v: %v: %s", u.n, u.round, d, err, out)
			}
			if text := fmt.Sprintf("%s (%v)", out, err); !slices.Contains(said, text) {
				said = append(said, text)
			}
			return u.findNode(n) // whatever the script says: it may have been refused since the machine is a node
		})
		if err != nil {
			return fmt.Errorf("%w\nthe join scripts: %s", err, strings.Join(said, "\n"))
		}
		t.over, u.now.node = "token_used", n
		u.c.did("token", "used", t.id)
		u.c.did("node", "joined", n.id)
		return nil
	})
}

func (u *chaosUser) runScript(token string, n *promisedNode) ([]byte, error) {
	cmd := exec.CommandContext(u.c.ctx, "sh", "-c", `curl -sfL "$URL" | sh -`)
	cmd.Env = append(os.Environ(), "URL=http://"+u.c.addr+"/join?token="+token, "KUBEBYON_HOLLOW_NODE="+u.c.plane,
		"KUBEBYON_NODE_NAME="+n.name, "KUBEBYON_NODE_DIR="+n.dir, "KUBEBYON_TIMEOUT=60", "KUBEBYON_READY_TIMEOUT=60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.CombinedOutput()
}

// findNode looks for a node that the API shows as ready.
func (u *chaosUser) findNode(n *promisedNode) error {
	a, err := u.c.send("GET", "/api/console/nodes?cluster_id="+u.now.id, "", nil)
	if err == nil {
		err = a.want(http.StatusOK)
	}
	if err != nil {
		return err
	}
	for _, got := range a.list("nodes") {
		if got["name"] == n.name && got["status"] == "ready" {
			n.id = got["id"].(string)
			return nil
		}
	}
	return fmt.Errorf("the node %s is not ready in the API: %v", n.name, a.body)
}

// script gets a join script for a machine that never comes.
func (u *chaosUser) script() error {
	return u.step(stepScript, func() error {
		t, err := u.mint(stepScript)
		if err != nil {
			return err
		}
		return u.c.awaitTrue(func() error {
			u.c.takes(stepScript)
			return u.c.joinError("GET", t.value, "")
		})
	})
}

func (u *chaosUser) runPod() error {
	return u.step("pod", func() error {
		pod := object{
			"metadata": object{"name": "work"},
			"spec": object{
				"nodeName": u.now.node.name, "automountServiceAccountToken": false,
				"containers": []object{{"name": "work", "image": "work"}},
			},
		}
		return u.c.awaitTrue(func() error {
			const pods = "/api/v1/namespaces/default/pods"
			if _, err := u.now.tenant.call("POST", pods, pod, http.StatusCreated, http.StatusConflict); err != nil {
				return err
			}
			got, err := u.now.tenant.call("GET", pods+"/work", nil, http.StatusOK)
			if err != nil {
				return err
			}
			if phase := dig(got, "status", "phase"); phase != "Running" {
				return fmt.Errorf("the pod is %v", phase)
			}
			return nil
		})
	})
}

// onNode does something to the node, which is acknowledged with status.
func (u *chaosUser) onNode(step, method, path, event string, body any, status int) error {
	return u.step(step, func() error {
		n := u.now.node
		a, err := u.ask(step, method, "/api/console/nodes/"+n.id+path, "", body)
		if err != nil {
			return err
		}
		if a.status == http.StatusNotFound && step == stepDeleteNode && a.unsure > 0 {
			a.status = status // an earlier one has done it
		}
		if err := a.want(status); err != nil {
			return err
		}
		told := u.c.did("node", event, n.id).orMore(a.unsure)
		switch step {
		case stepCordon:
			n.cordoned = true
		case stepUncordon:
			n.cordoned, n.drained = false, false
		case stepDrain:
			n.cordoned, n.drained = true, true
		case stepDeleteNode:
			n.erased = true
			told.orMore(1) // the watch may tell of it too
		}
		return u.c.awaitTrue(u.checkNode)
	})
}

func (u *chaosUser) cordon() error {
	return u.onNode(stepCordon, "POST", "/cordon", "cordoned", object{}, http.StatusOK)
}

func (u *chaosUser) uncordon() error {
	return u.onNode(stepUncordon, "POST", "/uncordon", "uncordoned", object{}, http.StatusOK)
}

func (u *chaosUser) drain() error {
	return u.onNode(stepDrain, "POST", "/drain", "drained", object{"timeout_seconds": 30, "grace_period_seconds": 1, "force": true}, http.StatusOK)
}

func (u *chaosUser) deleteNode() error {
	err := u.onNode(stepDeleteNode, "DELETE", "", "deleted", nil, http.StatusNoContent)
	if err == nil {
		endHollowNodes(u.now.node.dir + "/")
	}
	return err
}

func (u *chaosUser) revoke() error {
	return u.step(stepRevoke, func() error {
		t := u.now.tokens[len(u.now.tokens)-1]
		a, err := u.ask(stepRevoke, "DELETE", "/api/console/tokens/"+t.id, "", nil)
		if err == nil {
			err = a.want(http.StatusOK)
		}
		if err != nil {
			return err
		}
		t.over = "token_revoked"
		u.c.did("token", "revoke", t.id)
		return nil
	})
}

func (u *chaosUser) remove() error {
	return u.step(stepDelete, u.erase)
}

func (u *chaosUser) erase() error {
	if !u.now.hasty { // every operation is over by then, and has come out well
		if err := u.c.awaitTrue(u.operationsTell); err != nil {
			return err
		}
	}
	a, err := u.ask(stepDelete, "DELETE", "/api/console/clusters/"+u.now.id, "", nil)
	if err != nil {
		return err
	}
	if err := a.want(http.StatusAccepted); err != nil && (a.status != http.StatusNotFound || a.unsure == 0) {
		return err
	}
	u.c.did("cluster", "delete_requested", u.now.id)
	u.c.takes(stepRemoval)
	if err := u.c.awaitTrue(func() error { return u.c.isNotFound("/api/console/clusters/" + u.now.id) }); err != nil {
		return err
	}
	u.now.gone = true
	u.gone = append(u.gone, u.now)
	if n := u.now.node; n != nil {
		endHollowNodes(n.dir + "/")
	}
	return u.c.awaitTrue(func() error { return u.c.nothingLeftOf(u.now) })
}

// chaosAnswer is one that arrived whole.
type chaosAnswer struct {
	method, path string
	status       int
	header       http.Header
	body         object
	unsure       int // how often the same request was sent before and may have been served
}

func (a chaosAnswer) want(status int) error {
	if a.status != status {
		return fmt.Errorf("%s %s: %d, want %d: %v", a.method, a.path, a.status, status, a.body)
	}
	return nil
}

func (a chaosAnswer) in(path ...string) string {
	text, _ := dig(a.body, path...).(string)
	return text
}

func (a chaosAnswer) list(name string) (out []object) {
	all, _ := a.body[name].([]any)
	for _, o := range all {
		out = append(out, o.(object))
	}
	return out
}

func dig(o object, path ...string) any {
	for _, name := range path[:len(path)-1] {
		o, _ = o[name].(object)
	}
	return o[path[len(path)-1]]
}

// ask sends a request until there is an answer, as a careful client does: what
// creates has an Idempotency-Key.
func (u *chaosUser) ask(step, method, path, key string, body any) (a chaosAnswer, err error) {
	unsure := 0
	err = u.c.awaitTrue(func() error {
		u.c.takes(step)
		var err error
		a, err = u.c.send(method, path, key, body)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED): // nobody was there to serve it
			u.c.count("requests refused by nobody")
			return err
		case err != nil:
			u.c.count("answers lost")
			unsure++
			return err
		case a.status == http.StatusInternalServerError:
			u.c.fail(fmt.Errorf("%s %s: 500: %v", method, path, a.body))
		case a.status > http.StatusInternalServerError || a.status == http.StatusConflict:
			u.c.count("put off: " + a.in("code"))
			if !slices.Contains([]string{"control_plane_not_ready", "cluster_not_ready", "kubeconfig_pending"}, a.in("code")) {
				unsure++ // it may have come half the way
			}
			return a.want(http.StatusOK)
		}
		return nil
	})
	a.unsure = unsure
	u.c.count("requests acknowledged")
	if unsure > 0 {
		u.c.count("requests repeated")
	}
	return a, err
}

// send sends one request once.
func (c *chaos) send(method, path, key string, body any) (a chaosAnswer, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(c.ctx, method, "http://"+c.addr+path, in)
	if err != nil {
		return a, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.web.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a = chaosAnswer{method: method, path: path, status: resp.StatusCode, header: resp.Header, body: object{}}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		err = json.Unmarshal(text, &a.body)
	}
	return a, err
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", addr)
}
