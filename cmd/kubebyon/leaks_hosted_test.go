package main_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// hostedSecrets are those with which servers and workers reach a database, a
// broker and a host that are there, and what was found of them where.
type hostedSecrets struct {
	t        *testing.T
	ledger   *ledger
	host     string // the kubeconfig of the host's own administrator
	kubectl  string
	database database
	password string // of the first administrator
	settings []string
	byToken  string // a kubeconfig with a token for the host, where settings have one with a key
	logs     []*server
	metrics  []string // where they are
}

func newHostedSecrets(t *testing.T, host, kubectl string) *hostedSecrets {
	t.Helper()
	h := &hostedSecrets{t: t, ledger: newLedger(), host: host, kubectl: kubectl, password: "first-" + text(24)}
	var dsn string
	var ok bool
	if h.database, dsn, ok = openOwnPostgres(t, "database-"+text(24)); !ok {
		t.Skip("there is no PostgreSQL")
	}
	passBroker, key := "broker-"+text(24), newKey()
	broker, prefix := brokerWithPassword(t, passBroker)
	own, err := os.ReadFile(host)
	if err != nil {
		t.Fatal(err)
	}
	h.ledger.keep(databasePassword, passwordIn(dsn))
	h.ledger.keep(brokerPassword, passBroker)
	h.ledger.keep(chosenPassword, h.password)
	h.ledger.keepServerKey(t, key)
	h.ledger.keepKubeconfig(t, hostCredential, string(own))
	kube(t, kubectl, host, "create", "serviceaccount", "kubebyon")
	kube(t, kubectl, host, "create", "clusterrolebinding", "kubebyon", "--clusterrole=cluster-admin", "--serviceaccount=default:kubebyon")
	h.byToken = h.kubeconfig(h.token("kubebyon"))
	home := t.TempDir()
	h.settings = []string{"KUBEBYON_KUBECONFIG_PATH=" + host, "KUBEBYON_AMQP_PREFIX=" + prefix, "KUBEBYON_SECRET_KEY="}
	for name, value := range map[string]string{"DATABASE_URL": dsn, "AMQP_URL": broker, "SECRET_KEY": key, "ADMIN_PASSWORD": h.password} {
		write(t, filepath.Join(home, name), value+"\n")
		h.settings = append(h.settings, "KUBEBYON_"+name+"_FILE="+filepath.Join(home, name))
	}
	return h
}

// token is one of an account of the host.
func (h *hostedSecrets) token(account string) string {
	h.t.Helper()
	token := strings.TrimSpace(kube(h.t, h.kubectl, h.host, "create", "token", account))
	h.ledger.keep(hostCredential, token[strings.LastIndexByte(token, '.')+1:])
	return token
}

// kubeconfig leads to the host with a token, and nothing else.
func (h *hostedSecrets) kubeconfig(token string) (file string) {
	h.t.Helper()
	config, err := clientcmd.LoadFromFile(h.host)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, c := range config.Contexts {
		c.AuthInfo = "kubebyon"
	}
	config.AuthInfos = map[string]*api.AuthInfo{"kubebyon": {Token: token}}
	file = filepath.Join(h.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// run starts a process, all of whose words are searched.
func (h *hostedSecrets) run(start func(...string) *server, flags ...string) *server {
	h.t.Helper()
	addr := freeAddress(h.t)
	p := start(append(flags, "--metrics-addr", addr)...)
	h.logs, h.metrics = append(h.logs, p), append(h.metrics, addr)
	return p
}

// signIn returns the first administrator, whose answers are searched.
func (h *hostedSecrets) signIn(s *server) *client {
	h.t.Helper()
	s.awaitCheck(h.t, "database", "ok")
	c := signInWith(h.t, s, h.password)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	h.t.Cleanup(transport.CloseIdleConnections)
	c.http.Transport = &recorder{ledger: h.ledger, source: s.addr, next: transport}
	c.must("POST", "/api/auth/login", object{"email": adminEmail, "password": h.password}, http.StatusOK)
	at, err := url.Parse(c.url)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, cookie := range c.http.Jar.Cookies(at) {
		h.ledger.keepCredential(sessionValue, cookie.Value)
	}
	return c
}

// refused starts servers that the host does not know, or does not let do
// anything, and returns what waits until they have said so.
func (h *hostedSecrets) refused(chart string) (await func()) {
	h.t.Helper()
	valid := h.token("default") // an account without any right
	signature := text(43) + text(43)
	h.ledger.keep(hostCredential, signature)
	var waits []func()
	for token, want := range map[string]string{valid: "lacks the right", valid[:strings.LastIndexByte(valid, '.')+1] + signature: "does not accept KubeBYON's credentials"} {
		dir, key := filepath.Join(h.t.TempDir(), "data"), newKey()
		if err := os.Mkdir(dir, 0o700); err != nil {
			h.t.Fatal(err)
		}
		h.ledger.keepServerKey(h.t, key)
		site := newSite(h.t, "KUBEBYON_DATABASE_URL=sqlite:"+filepath.Join(dir, "kubebyon.db"), "KUBEBYON_SECRET_KEY="+key, "KUBEBYON_KUBECONFIG_PATH="+h.kubeconfig(token),
			"KUBEBYON_VCLUSTER_CHART="+chart, "KUBEBYON_ADMIN_PASSWORD="+h.password)
		p := h.run(site.serve)
		c := h.signIn(p)
		id := c.createCluster("refused")
		waits = append(waits, func() {
			p.awaitLog(h.t, want)
			p.awaitLog(h.t, "job attempt")
			h.read(c, id)
			p.stop(h.t)
			h.ledger.sweep(h.t, p.addr, dir, dataFile)
		})
	}
	return func() {
		for _, wait := range waits {
			wait()
		}
	}
}

// read asks for all that is told about a cluster.
func (h *hostedSecrets) read(c *client, id string) {
	h.t.Helper()
	for _, at := range []string{
		"/api/console/clusters", "/api/console/clusters/" + id, "/api/console/clusters/" + id + "/operations", "/api/console/nodes", "/api/console/overview",
		"/api/console/admin/activities", "/api/console/admin/cluster-jobs", "/healthz", "/version",
	} {
		c.must("GET", at, nil, http.StatusOK)
	}
	for _, at := range []string{"/readyz", "/api/console/clusters/cl_00000000000000000000000000", "/api/console/nowhere"} {
		_, _, _ = c.call("GET", at, nil)
	}
}

func (h *hostedSecrets) readMetrics() {
	h.t.Helper()
	for i, p := range h.logs {
		if p.done {
			continue
		}
		c := &client{t: h.t, url: "http://" + h.metrics[i], http: &http.Client{Transport: &recorder{ledger: h.ledger, source: p.addr, next: http.DefaultTransport}}}
		c.must("GET", "/metrics", nil, http.StatusOK)
	}
}

// judge ends all processes and searches what they have said and stored.
func (h *hostedSecrets) judge() {
	h.t.Helper()
	h.readMetrics()
	for _, p := range h.logs {
		p.stop(h.t)
		out := p.log.tail()
		if len(out) == tailSize {
			h.t.Errorf("the log of %s is longer than what is kept of it", p.cmd.Args)
		}
		h.ledger.record("log of "+filepath.Base(p.cmd.Path), p.addr, []byte(out))
	}
	h.database.keepHashes(h.t, h.ledger)
	values := h.database.dump(h.t, h.ledger, "PostgreSQL")
	if h.t.Failed() {
		return // what a broken run leaves says nothing of a whole one
	}
	texts := h.ledger.lookAtEvidence()
	h.ledger.judge(h.t, map[string]bool{"host": true})
	h.t.Logf("looked at %d texts and %d values, bytes by place: %v", texts, values, h.ledger.searched)
}

// brokerWithPassword is the broker for those alone who say this password. They
// need no user of their own there: the gate before it says its user's to it.
func brokerWithPassword(t *testing.T, password string) (at, prefix string) {
	t.Helper()
	text, prefix := requireBroker(t)
	g, at := newGate(t, text)
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	name := u.User.Username()
	own, _ := u.User.Password()
	u.User = url.UserPassword(name, password)
	g.enter = func(to io.Writer, from io.Reader) error {
		return signInAs(to, from, "\x00"+name+"\x00"+password, "\x00"+name+"\x00"+own)
	}
	g.unlock()
	return u.String(), prefix
}

var errWrongPassword = errors.New("the client does not say the password")

// signInAs passes on how an AMQP client begins: the protocol's name, and a frame
// with what it says to prove who it is, in place of which it says something else.
func signInAs(to io.Writer, from io.Reader, said, instead string) error {
	begin := make([]byte, 8)
	if _, err := io.ReadFull(from, begin); err != nil {
		return err
	}
	if _, err := to.Write(begin); err != nil {
		return err
	}
	head := make([]byte, 7) // type, channel, and size, which leaves out the frame's last byte
	if _, err := io.ReadFull(from, head); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	if _, err := io.ReadFull(from, frame); err != nil {
		return err
	}
	long := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	changed := bytes.Replace(frame, long(said), long(instead), 1)
	if bytes.Equal(changed, frame) {
		return errWrongPassword
	}
	binary.BigEndian.PutUint32(head[3:], uint32(len(changed)-1))
	_, err := to.Write(slices.Concat(head, changed))
	return err
}
