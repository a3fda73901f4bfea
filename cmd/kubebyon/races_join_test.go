package main_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// raceTenant is the API of a control plane, for somebody.
type raceTenant struct {
	t      testing.TB
	http   *http.Client
	server string
	bearer string
}

func (r *race) inside(kubeconfig string) *raceTenant {
	r.t.Helper()
	c, server := insideOf(r.t, kubeconfig)
	return &raceTenant{t: r.t, http: c, server: server}
}

func (a *raceTenant) call(method, path string, body, out any) int {
	text, err := json.Marshal(body)
	if err != nil {
		a.t.Error(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, a.server+path, bytes.NewReader(text))
	if err != nil {
		a.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	if a.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Error(err)
	}
	_ = json.Unmarshal(answer, out)
	return resp.StatusCode
}

// with is the same API for somebody who has nothing but a bearer token, or a certificate.
func (a *raceTenant) with(bearer string, pair *tls.Certificate) *raceTenant {
	conf := a.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.Certificates = nil
	if pair != nil {
		conf.Certificates = []tls.Certificate{*pair}
	}
	transport := &http.Transport{TLSClientConfig: conf}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &raceTenant{t: a.t, http: &http.Client{Transport: transport, Timeout: time.Minute}, server: a.server, bearer: bearer}
}

type csrObject struct {
	Metadata struct{ Name string }
	Spec     struct{ Username string }
	Status   struct {
		Certificate []byte
		Conditions  []struct{ Type, Message string }
	}
}

// requested lists the certificate requests of one bootstrap token.
func (a *raceTenant) requested(tokenID string) (mine []csrObject) {
	var all struct{ Items []csrObject }
	a.call("GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests", nil, &all)
	for _, c := range all.Items {
		if c.Spec.Username == "system:bootstrap:"+tokenID {
			mine = append(mine, c)
		}
	}
	return mine
}

const csrPath = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// ask posts a certificate request for a node with a key of its own.
func (a *raceTenant) ask(name, node string) (key *ecdsa.PrivateKey, status int) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Error(err)
		return nil, 0
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
	}, key)
	if err != nil {
		a.t.Error(err)
		return nil, 0
	}
	return key, a.call("POST", csrPath, object{
		"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": object{"name": name},
		"spec": object{
			"request":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": []string{"digital signature", "client auth"},
		},
	}, &object{})
}

// mint makes a join token and downloads its script.
func (r *race) mint(cluster string) (token object, script string) {
	r.t.Helper()
	token = r.must("POST", "/api/console/clusters/"+cluster+"/join-token", object{}, http.StatusCreated)["token"].(object)
	out := r.must("GET", "/join?token="+token["value"].(string), nil, http.StatusOK)
	return token, out["text"].(string)
}

// oneToken: three machines run the script, others ask with keys of their own,
// for two names and for more. One gets its certificate.
func (r *race) oneToken(cluster, prefix string, machines int, in *raceTenant) (node string) {
	r.t.Helper()
	token, script := r.mint(cluster)
	boot := bootstrapRE.FindStringSubmatch(script)
	if boot == nil {
		r.t.Fatal("the join script has no bootstrap token")
	}
	stranger := in.with(boot[1]+"."+boot[2], nil)
	var keys sync.Map
	said := make([]string, 3)
	exits := r.together(machines, func(i int) int {
		if i < len(said) {
			out, err := r.runScript(script, fmt.Sprint(prefix, i%2), fmt.Sprint(prefix, "machine-", i))
			said[i] = out
			if err != nil {
				return -1
			}
			return 0
		}
		// Scripts take a moment until they ask: some of these are sooner, some later.
		time.Sleep(time.Duration(i-len(said)) * 40 * time.Millisecond)
		name, node := fmt.Sprint(prefix, "csr-", i), fmt.Sprint(prefix, i%2)
		if i%3 == 0 {
			node = fmt.Sprint(prefix, i)
		}
		key, status := stranger.ask(name, node)
		keys.Store(name, key)
		return status
	})
	var winner csrObject
	approved, denied := 0, 0
	r.eventually("every request is decided", 20*time.Second, func() bool {
		approved, denied = 0, 0
		for _, c := range in.requested(boot[1]) {
			for _, cond := range c.Status.Conditions {
				switch {
				case cond.Type == "Approved":
					approved, winner = approved+1, c
				case cond.Type == "Denied" && cond.Message != "":
					denied++
				}
			}
		}
		return approved+denied == len(in.requested(boot[1]))
	})
	if approved != 1 {
		r.t.Fatalf("%d certificates were approved for one token", approved)
	}
	if key, ours := keys.Load(winner.Metadata.Name); ours {
		r.register(in, winner.Metadata.Name, key.(*ecdsa.PrivateKey))
	}
	var nodes []any
	r.eventually("the one node is there", 20*time.Second, func() bool {
		nodes = r.must("GET", "/api/console/nodes?cluster_id="+cluster+"&search="+prefix, nil, http.StatusOK)["nodes"].([]any)
		return len(nodes) > 0
	})
	if len(nodes) == 0 {
		r.t.FailNow()
	}
	node, _ = nodes[0].(object)["id"].(string)
	used := r.must("DELETE", "/api/console/tokens/"+token["id"].(string), nil, http.StatusOK)["token"].(object)
	if used["status"] != "used" || used["used_by_node_id"] != node || len(nodes) != 1 {
		r.t.Errorf("%d nodes, the token is %v", len(nodes), used)
	}
	for i, text := range said {
		won := strings.Contains(text, "is a Ready node of the cluster")
		refused := strings.Contains(text, "denied") || strings.Contains(text, "has been used by another machine") || strings.Contains(text, "not granted") || strings.Contains(text, "Another machine")
		if won == refused {
			r.t.Errorf("machine %d was told neither that it joined nor why not:\n%s", i, text)
		}
	}
	r.t.Logf("%d machines with one token: %v (scripts: 0 joined, -1 refused), %d approved, %d denied; %s won", machines, exits, approved, denied, winner.Metadata.Name)
	return node
}

func (r *race) runScript(script, node, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-s")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "KUBEBYON_HOLLOW_NODE="+r.plane, "KUBEBYON_NODE_NAME="+node, "KUBEBYON_NODE_DIR="+filepath.Join(r.home, dir), "KUBEBYON_TIMEOUT=30", "KUBEBYON_READY_TIMEOUT=60")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// register does as a kubelet whose certificate has come.
func (r *race) register(in *raceTenant, request string, key *ecdsa.PrivateKey) {
	r.t.Helper()
	var c csrObject
	r.eventually("the certificate is there", 20*time.Second, func() bool {
		in.call("GET", csrPath+"/"+request, nil, &c)
		return len(c.Status.Certificate) > 0
	})
	block, _ := pem.Decode(c.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	kubelet := in.with("", &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key})
	name := strings.TrimPrefix(cert.Subject.CommonName, "system:node:")
	if status := kubelet.call("POST", "/api/v1/nodes", object{"apiVersion": "v1", "kind": "Node", "metadata": object{"name": name}}, &object{}); status != http.StatusCreated {
		r.t.Errorf("the winner could not register: %d", status)
	}
}

// handsOnOneNode: cordons, uncordons and two drains at once; in the end the API
// tells what the cluster has. Then the node is deleted during a drain.
func (r *race) handsOnOneNode(node string, in *raceTenant) {
	r.t.Helper()
	path := "/api/console/nodes/" + node
	for range 5 {
		got := r.together(14, func(i int) int {
			action := []string{"/cordon", "/uncordon"}[i%2]
			if i < 2 {
				action = "/drain"
			}
			status, _ := r.try(r.client, "POST", path+action, nil)
			return status
		})
		if got[http.StatusOK] != 14 {
			r.t.Errorf("cordons, uncordons and drains: %v", got)
		}
		r.eventually("the API tells whether the node is cordoned", 5*time.Second, func() bool {
			shown := r.must("GET", path, nil, http.StatusOK)["node"].(object)
			var real struct{ Spec struct{ Unschedulable bool } }
			in.call("GET", "/api/v1/nodes/"+shown["name"].(string), nil, &real)
			return real.Spec.Unschedulable == shown["unschedulable"]
		})
	}
	r.together(6, func(i int) int {
		if i < 4 {
			status, _ := r.try(r.client, "POST", path+"/drain", nil)
			return status
		}
		status, _ := r.try(r.client, "DELETE", path, nil)
		return status
	})
	r.eventually("the node is gone", 10*time.Second, func() bool {
		status, _ := r.try(r.client, "GET", path, nil)
		return status == http.StatusNotFound
	})
}

// revokeWhileJoining: whoever comes in time gets a script, and the token's secret
// is gone in the end all the same.
func (r *race) revokeWhileJoining(cluster string, in *raceTenant) {
	r.t.Helper()
	for range 2 {
		token := r.must("POST", "/api/console/clusters/"+cluster+"/join-token", object{}, http.StatusCreated)["token"].(object)
		got := r.together(4, func(i int) int {
			if i < 2 {
				status, _ := r.try(r.client, "GET", "/join?token="+token["value"].(string), nil)
				return status
			}
			status, out := r.try(r.client, "DELETE", "/api/console/tokens/"+token["id"].(string), nil)
			if status != http.StatusOK || out["token"].(object)["status"] != "revoked" {
				r.t.Errorf("revoke: %d %v", status, out)
			}
			return status
		})
		secret := "/api/v1/namespaces/kube-system/secrets/" + token["bootstrap_secret_name"].(string)
		r.eventually("the bootstrap secret is gone", 20*time.Second, func() bool {
			return in.call("GET", secret, nil, &object{}) == http.StatusNotFound
		})
		r.t.Logf("two downloads and two revocations at once: %v", got)
	}
}
