package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client is somebody who uses a server's API.
type client struct {
	t    testing.TB
	url  string
	http *http.Client
}

const adminEmail = "admin@kubebyon.local"

func adminPassword(t testing.TB, dataDir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataDir, "initial-admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// newClient is somebody who has not signed in.
func newClient(t testing.TB, s *server) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, url: s.url, http: &http.Client{Jar: jar, Timeout: time.Minute}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// signIn returns the first administrator's client.
func signIn(t testing.TB, s *server, dataDir string) *client {
	t.Helper()
	c := newClient(t, s)
	c.must("POST", "/api/auth/login", map[string]any{"email": adminEmail, "password": adminPassword(t, dataDir)}, http.StatusOK)
	return c
}

type object = map[string]any

// call sends a request and returns the status and the decoded answer.
func (c *client) call(method, path string, body any) (int, object, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, c.url+path, in)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, nil, err
	}
	out := object{}
	if len(text) > 0 && json.Unmarshal(text, &out) != nil {
		out["text"] = string(text)
	}
	return resp.StatusCode, out, nil
}

// must is call with the status that is expected.
func (c *client) must(method, path string, body any, status int) object {
	c.t.Helper()
	got, out, err := c.call(method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if got != status {
		c.t.Fatalf("%s %s: %d, want %d: %v", method, path, got, status, out)
	}
	return out
}

func (c *client) createCluster(name string) string {
	c.t.Helper()
	out := c.must("POST", "/api/console/clusters", object{"name": name}, http.StatusCreated)
	return out["cluster"].(object)["id"].(string)
}

// awaitCluster polls as a client does until ok accepts the cluster.
func (c *client) awaitCluster(id string, within time.Duration, what string, ok func(status int, cluster object) bool) object {
	c.t.Helper()
	var last object
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		status, out, err := c.call("GET", "/api/console/clusters/"+id, nil)
		if err != nil {
			c.t.Fatalf("get cluster: %v", err)
		}
		last = out
		cluster, _ := out["cluster"].(object)
		if ok(status, cluster) {
			return cluster
		}
	}
	c.t.Fatalf("the cluster is not %s after %v: %v", what, within, last)
	return nil
}

func (c *client) awaitReachable(id string, within time.Duration) object {
	c.t.Helper()
	return c.awaitCluster(id, within, "reachable", func(_ int, cluster object) bool {
		return cluster["status"] == "ready" && cluster["connection_status"] == "reachable"
	})
}

func (c *client) awaitGone(id string, within time.Duration) {
	c.t.Helper()
	c.awaitCluster(id, within, "gone", func(status int, _ object) bool { return status == http.StatusNotFound })
}

// kubeconfig downloads a cluster's kubeconfig into a file.
func (c *client) kubeconfig(id, password, file string) string {
	c.t.Helper()
	out := c.must("POST", "/api/console/clusters/"+id+"/kubeconfig", object{"password": password}, http.StatusOK)
	text := out["kubeconfig"].(string)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return text
}

func (c *client) joinToken(cluster string) string {
	c.t.Helper()
	out := c.must("POST", "/api/console/clusters/"+cluster+"/join-token", object{}, http.StatusCreated)
	return out["token"].(object)["value"].(string)
}

// awaitNode polls until the API shows a node as ready, and returns its id.
func (c *client) awaitNode(cluster, name string) string {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, n := range c.must("GET", "/api/console/nodes?cluster_id="+cluster, nil, http.StatusOK)["nodes"].([]any) {
			if n.(object)["name"] == name && n.(object)["status"] == "ready" {
				return n.(object)["id"].(string)
			}
		}
	}
	c.t.Fatalf("node %s is not ready after a minute", name)
	return ""
}
