package main_test

import (
	"encoding/base64"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
)

var bootstrapRE = regexp.MustCompile(`(?m)^([a-z0-9]{6})\.([a-z0-9]{16})$`)

// keepBootstrap remembers the bootstrap secret in a script, and sees that the
// cluster has the same.
func (r *leakRun) keepBootstrap(script string) {
	r.t.Helper()
	m := bootstrapRE.FindStringSubmatch(script)
	if m == nil {
		r.t.Fatal("a join script has no bootstrap token")
	}
	r.ledger.keep(bootstrapValue, m[2])
	r.ledger.keep(bootstrapValue, m[1]+"."+m[2])
	inCluster := kube(r.t, r.kubectl, r.in("person", "kubeconfig"), "-n", "kube-system", "get", "secret", "bootstrap-token-"+m[1], "-o", "jsonpath={.data.token-secret}")
	if raw, err := base64.StdEncoding.DecodeString(inCluster); err != nil || string(raw) != m[2] {
		r.t.Errorf("the cluster's bootstrap secret is another than the script's: %v", err)
	}
}

func (r *leakRun) token(id string) (token, value string) {
	r.t.Helper()
	out := r.admin.must("POST", "/api/console/clusters/"+id+"/join-token", object{}, http.StatusCreated)["token"].(object)
	r.ledger.keepCredential(joinTokenValue, out["value"].(string))
	return out["id"].(string), out["value"].(string)
}

// join has a machine join, and uses tokens in every way that they can fail.
func (r *leakRun) join(id string) (value string) {
	r.t.Helper()
	long := "/api/join/clusters/" + id + "/script?token="
	script := func(at string, status int) string {
		return r.admin.must("GET", at, nil, status)["text"].(string)
	}
	out := r.repeat("/api/console/clusters/"+id+"/join-token", object{"ttl_seconds": 600})["token"].(object)
	value = out["value"].(string)
	r.ledger.keepCredential(joinTokenValue, value)
	if kept := r.database.texts(r.t, "SELECT operation FROM replies"); len(kept) != 3 {
		r.t.Errorf("of three answers that may be asked for again, the database has %v", kept)
	}
	r.keepBootstrap(script("/join?token="+value, http.StatusOK))
	r.admin.must("HEAD", "/join?token="+value, nil, http.StatusOK)

	revoked, revokedValue := r.token(id)
	r.keepBootstrap(script(long+revokedValue, http.StatusOK))
	r.admin.must("DELETE", "/api/console/tokens/"+revoked, nil, http.StatusOK)
	expired, expiredValue := r.token(id)
	r.keepBootstrap(script("/join?token="+expiredValue, http.StatusOK))
	r.database.exec(r.t, "UPDATE tokens SET expires_at = created_at WHERE id = '"+expired+"'")
	unknown := "kbt_" + base64.RawURLEncoding.EncodeToString([]byte(text(32)))
	r.ledger.keep(madeUpCredential, unknown)
	for _, v := range []string{revokedValue, expiredValue, unknown, unknown[:20]} {
		script("/join?token="+v, http.StatusOK)
		script(long+v, http.StatusForbidden)
	}
	script("/api/join/clusters/cl_00000000000000000000000000/script?token="+value, http.StatusNotFound)

	r.t.Cleanup(func() { endHollowNodes(r.home) })
	if text, err := r.shell(out["join_command"].(string), "worker-1"); err != nil {
		r.t.Fatalf("join: %v: %s", err, text)
	}
	if text, err := r.shell(out["join_command"].(string), "worker-2"); err == nil {
		r.t.Errorf("a token has let in two machines: %s", text)
	}
	return value
}

// shell types a command on a machine that is to be a hollow node.
func (r *leakRun) shell(command, node string) (string, error) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "/bin/sh")
	cmd.Stdin = strings.NewReader("umask 000\n" + command + "\n")
	cmd.Env = append(r.environment(), "KUBEBYON_HOLLOW_NODE="+r.in("bin", "kubebyon-localplane"), "KUBEBYON_NODE_NAME="+node, "KUBEBYON_NODE_DIR="+r.in("nodes", node))
	text, err := cmd.CombinedOutput()
	r.ledger.record("output of a join", r.name+" "+node, text)
	return string(text), err
}
