package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// prepare puts the stand-ins into their places.
func (r *leakRun) prepare() {
	r.t.Helper()
	r.lastWords()
	executable := func(file, content string) {
		if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
			r.t.Fatal(err)
		}
	}
	executable(r.in("bin", "kubebyon-localplane"), fmt.Sprintf(planeStandin, r.in("notes"), r.in("person"), r.plane))
	executable(r.in("bin", "standin"), fmt.Sprintf(standin, r.in("notes")))
	script, err := os.ReadFile("../../adapters/httpapi/joinscript/join.sh")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, word := range regexp.MustCompile(`[a-z][a-z0-9]+`).FindAllString(string(script)+" curl", -1) {
		if info, err := os.Stat("/usr/bin/" + word); err != nil || info.IsDir() {
			continue
		}
		if err := os.Symlink(r.in("bin", "standin"), r.in("standins", word)); err != nil && !os.IsExist(err) {
			r.t.Fatal(err)
		}
	}
}

// lastWords are what a control plane could print that dies: whatever is secret
// in them must not get further than this process.
func (r *leakRun) lastWords() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		r.t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	r.ledger.keepKeys(lastWord, block)
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	copy(raw[6:], []byte{0xff, 0xff, 0xff}) // "////" in the middle
	var said []string
	for _, s := range []struct{ before, secret string }{
		{"token ", text(6) + "." + text(16)},
		{"password=", text(20)},
		{"Authorization: Bearer ", text(30)},
		{`"client-secret": "`, text(24)},
		{"kbt_", text(43)},
		{"https://u:", text(20)},
		{"", base64.StdEncoding.EncodeToString(der)},
		{"", base64.StdEncoding.EncodeToString(raw)},
	} {
		end := ""
		if strings.HasPrefix(s.before, "https:") {
			end = "@127.0.0.1/"
		}
		r.ledger.keep(lastWord, s.secret)
		said = append(said, s.before+s.secret+end)
	}
	// Only the last 4 KB are kept, and they begin in the key's first line.
	last := strings.Join(said, " ") + "\n"
	noise := strings.Repeat(".", 4096+60-len(block)-len(last)-1) + "\n"
	write(r.t, r.in("person", "last-words"), string(block)+noise+last)
	reason, err := json.Marshal(object{"stage": "failed", "reason": string(block) + strings.Join(said, " ")})
	if err != nil {
		r.t.Fatal(err)
	}
	write(r.t, r.in("person", "last-reason"), string(reason)+"\n")
}

func (r *leakRun) clusters() (id, leaky string) {
	r.t.Helper()
	id = r.repeat("/api/console/clusters", object{"name": "demo"})["cluster"].(object)["id"].(string)
	for at, body := range map[string]object{"/kubeconfig": {"password": r.adminPassword()}, "/join-token": {"ttl_seconds": 1}} { // too early
		if status, out, err := r.admin.call("POST", "/api/console/clusters/"+id+at, body); err != nil || status >= 500 {
			r.t.Errorf("POST %s of a cluster that has just been asked for: %d %v %v", at, status, out, err)
		}
	}
	leaky = r.admin.createCluster("leaky")
	r.admin.awaitReachable(id, 2*time.Minute)
	r.admin.must("PUT", "/api/console/clusters/"+id, object{"workload_cpu_limit_milli_cores": 2500}, http.StatusOK)
	return id, leaky
}

func (r *leakRun) kubeconfigs(id string) {
	r.t.Helper()
	at, wrong := "/api/console/clusters/"+id+"/kubeconfig", "wrong-"+text(20)
	r.ledger.keep(wrongPassword, wrong)
	r.admin.must("POST", at, object{"password": wrong}, http.StatusUnauthorized)
	r.admin.must("POST", at, object{"password": ""}, http.StatusBadRequest)
	r.ledger.keepKubeconfig(r.t, adminKey, r.admin.kubeconfig(id, r.adminPassword(), r.in("person", "kubeconfig")))
	r.ledger.keepKubeconfig(r.t, adminKey, r.admin.must("POST", at+"?download=1", object{"password": r.adminPassword()}, http.StatusOK)["text"].(string))
}

var keyDataRE = regexp.MustCompile(`client-key-data"?: *"?([A-Za-z0-9+/=]+)`)

func (l *ledger) keepKubeconfig(t testing.TB, kind secretKind, text string) {
	t.Helper()
	m := keyDataRE.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("a kubeconfig has no key")
	}
	key, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil || l.keepKeys(kind, key) != 1 {
		t.Fatalf("a kubeconfig's key is none: %v", err)
	}
}

// keepFiles remembers the keys in a control plane's folder.
func (r *leakRun) keepFiles(id string) {
	r.t.Helper()
	files, err := filepath.Glob(r.in("data", "planes", "data", id, "pki", "*.key"))
	if err != nil || len(files) < 5 {
		r.t.Fatalf("the keys of a control plane: %v %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		kind := componentKey
		switch filepath.Base(file) {
		case "ca.key", "front-proxy-ca.key":
			kind = authorityKey
		case "sa.key":
			kind = accountsKey
		case "admin.key":
			kind = adminKey
		}
		if r.ledger.keepKeys(kind, text) == 0 {
			r.t.Fatalf("%s holds no key that is understood", file)
		}
	}
}

func (r *leakRun) useCluster() {
	r.t.Helper()
	file := r.in("person", "kubeconfig")
	token := strings.TrimSpace(kube(r.t, r.kubectl, file, "create", "token", "default"))
	r.ledger.keep(accountToken, token[strings.LastIndexByte(token, '.')+1:])
	kube(r.t, r.kubectl, file, "create", "namespace", "mine")
	found := 0
	err := filepath.WalkDir(r.in("nodes", "worker-1"), func(file string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(file, ".pem") && !strings.HasSuffix(file, ".key") {
			return err
		}
		text, err := os.ReadFile(file)
		found += r.ledger.keepKeys(nodeKey, text)
		return err
	})
	if err != nil || found == 0 {
		r.t.Fatalf("the node's key was not found: %v", err)
	}
}

func (r *leakRun) nodes(id string) {
	r.t.Helper()
	var list []any
	for late := time.Now().Add(30 * time.Second); len(list) == 0; time.Sleep(20 * time.Millisecond) {
		list = r.admin.must("GET", "/api/console/nodes?cluster_id="+id, nil, http.StatusOK)["nodes"].([]any)
		if time.Now().After(late) {
			r.t.Fatal("the cluster shows no node")
		}
	}
	node := "/api/console/nodes/" + list[0].(object)["id"].(string)
	r.admin.must("POST", node+"/cordon", nil, http.StatusOK)
	r.admin.must("POST", node+"/drain", object{"timeout_seconds": 20}, http.StatusOK)
	r.admin.must("POST", node+"/uncordon", nil, http.StatusOK)
	r.admin.must("GET", node, nil, http.StatusOK)
}

// awaitLastWords waits for the cluster whose control plane tells secrets.
func (r *leakRun) awaitLastWords(leaky string) {
	r.t.Helper()
	r.admin.awaitCluster(leaky, time.Minute, "in error", func(_ int, cluster object) bool { return cluster["status"] == "error" })
}
