// Package joinscript renders the shell script that makes a machine a node of a
// tenant cluster, and the script that says why a join token is refused. The
// scripts are join.sh and uninstall.sh beside this file; this package puts a
// cluster's values into them and refuses any value that could do more in a
// shell than be a value.
//
// It neither makes tokens nor serves HTTP, and imports only the standard
// library.
package joinscript

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Params are what one machine must know to join one cluster. Zero fields of
// Sources stand for the projects' own releases.
type Params struct {
	ClusterID         string
	ClusterName       string // shown to people, never used otherwise
	Server            string // "host:port" of the tenant's API, as in its cluster-info
	CACert            []byte // PEM, public
	CACertHash        string // "sha256:…" of the public key of one certificate in CACert
	BootstrapToken    BootstrapToken
	KubernetesVersion string    // "v1.36.3"
	PlatformURL       string    // where people reach KubeBYON
	IssuedAt          time.Time // when the script was asked for; zero: unknown
	ExpiresAt         time.Time // when the bootstrap token ends; zero: unknown
	Mirror            string    // of https://dl.k8s.io/release, the default
	Sources           Sources
	// Checksums are SHA-256 sums, hex, that the operator vouches for, by the
	// file's path under its mirror: "v1.36.3/bin/linux/amd64/kubelet". A file
	// without one is checked against the sum that its mirror serves over TLS.
	Checksums map[string]string
}

// Sources say where the container runtime comes from.
type Sources struct {
	ContainerdMirror, ContainerdVersion string
	RuncMirror, RuncVersion             string
	CNIMirror, CNIVersion               string
	CrictlMirror, CrictlVersion         string // used for Kubernetes before 1.31
}

// BootstrapToken is a Kubernetes bootstrap token that shows itself to nobody
// but the script.
type BootstrapToken struct{ value string }

// NewBootstrapToken wraps "id.secret": six and sixteen characters of a–z and
// 0–9. Render checks them.
func NewBootstrapToken(value string) BootstrapToken { return BootstrapToken{value} }

const redacted = "[redacted]"

func (t BootstrapToken) String() string               { return redacted }
func (t BootstrapToken) GoString() string             { return redacted }
func (t BootstrapToken) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (t BootstrapToken) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t BootstrapToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (t BootstrapToken) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

//go:embed join.sh
var joinScript string

//go:embed uninstall.sh
var uninstallScript string

// Between these lines of join.sh stand the values.
const (
	valuesBegin = "# >>> values"
	valuesEnd   = "# <<< values\n"
)

// Render writes the join script for p. The same p gives the same bytes. An
// error names every field that cannot go into a script and shows no value; then
// nothing is written.
func Render(w io.Writer, p Params) error {
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return fmt.Errorf("render join script: %w", err)
	}
	head, _, begun := strings.Cut(joinScript, valuesBegin)
	_, tail, ended := strings.Cut(joinScript, valuesEnd)
	if !begun || !ended {
		return errors.New("render join script: join.sh has no place for values")
	}
	var b bytes.Buffer
	b.WriteString(head)
	p.writeValues(&b)
	b.WriteString(tail)
	_, err := w.Write(b.Bytes())
	return err
}

func (p Params) withDefaults() Params {
	for value, otherwise := range map[*string]string{
		&p.Mirror:                    "https://dl.k8s.io/release",
		&p.Sources.ContainerdMirror:  "https://github.com/containerd/containerd/releases/download",
		&p.Sources.ContainerdVersion: "v2.2.3",
		&p.Sources.RuncMirror:        "https://github.com/opencontainers/runc/releases/download",
		&p.Sources.RuncVersion:       "v1.4.2",
		&p.Sources.CNIMirror:         "https://github.com/containernetworking/plugins/releases/download",
		&p.Sources.CNIVersion:        "v1.9.1",
		&p.Sources.CrictlMirror:      "https://github.com/kubernetes-sigs/cri-tools/releases/download",
		&p.Sources.CrictlVersion:     "v1.30.1",
	} {
		if *value == "" {
			*value = otherwise
		}
	}
	p.ClusterName = displayable(p.ClusterName)
	p.KubernetesVersion, _, _ = strings.Cut(p.KubernetesVersion, "+") // builds of a release are no files of a mirror
	return p
}

// writeValues writes the variables at the head of join.sh. What is secret or has
// several lines becomes a function: a variable could reach other programs'
// environment and a shell's trace.
func (p Params) writeValues(b *bytes.Buffer) {
	b.WriteString("# values: filled in by KubeBYON for one cluster and one join token.\n")
	tokenID, _, _ := strings.Cut(p.BootstrapToken.value, ".")
	for _, v := range [...]struct{ name, value string }{
		{"cluster_id", p.ClusterID},
		{"cluster_name", p.ClusterName},
		{"server", p.Server},
		{"ca_cert_hash", p.CACertHash},
		{"token_id", tokenID},
		{"kubernetes_version", p.KubernetesVersion},
		{"platform_url", strings.TrimRight(p.PlatformURL, "/")},
		{"issued_at", unixOrZero(p.IssuedAt)},
		{"expires_at", unixOrZero(p.ExpiresAt)},
		{"mirror", strings.TrimRight(p.Mirror, "/")},
		{"containerd_mirror", strings.TrimRight(p.Sources.ContainerdMirror, "/")},
		{"containerd_version", p.Sources.ContainerdVersion},
		{"runc_mirror", strings.TrimRight(p.Sources.RuncMirror, "/")},
		{"runc_version", p.Sources.RuncVersion},
		{"cni_mirror", strings.TrimRight(p.Sources.CNIMirror, "/")},
		{"cni_version", p.Sources.CNIVersion},
		{"crictl_mirror", strings.TrimRight(p.Sources.CrictlMirror, "/")},
		{"crictl_version", p.Sources.CrictlVersion},
	} {
		fmt.Fprintf(b, "%s=%s\n", v.name, quote(v.value))
	}
	writeFunction(b, "ca_certificate", string(plainPEM(p.CACert)))
	writeFunction(b, "bootstrap_token", p.BootstrapToken.value+"\n")
	writeFunction(b, "checksums", p.checksumLines())
	writeFunction(b, "uninstall_script", uninstallScript)
}

func unixOrZero(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.Unix(), 10)
}

func (p Params) checksumLines() string {
	var lines []string
	for path, sum := range p.Checksums {
		lines = append(lines, sum+"  "+path+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

const endOfText = "END_OF_TEXT"

// writeFunction defines a shell function that prints text.
func writeFunction(b *bytes.Buffer, name, text string) {
	fmt.Fprintf(b, "%s() {\n\tcat <<'%s'\n%s%s\n}\n", name, endOfText, text, endOfText)
}

// quote makes one word of the shell of any text without NUL.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Refusal writes a script that prints why this machine cannot join and exits
// with status 1. With curl -f a plain refusal would print nothing, and the shell
// would end well.
func Refusal(w io.Writer, code, message string) error {
	if !codeRE.MatchString(code) {
		return errors.New("render refusal: the code must be lower-case words joined by underscores")
	}
	_, err := fmt.Fprintf(w, `#!/bin/sh
# KubeBYON does not let this machine join. The shell reads up to the closing
# brace before it runs anything.
{
cat >&2 <<'%[1]s'
Stopped: %[2]s (%[3]s)
%[1]s
exit 1
}
`, endOfText, displayable(message), code)
	return err
}
