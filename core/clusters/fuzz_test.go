package clusters

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// FuzzHost: a host that is taken has one spelling, and can stand in a
// certificate and in a URL.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"", "Example.COM.", "203.0.113.10", "::1", "::ffff:1.2.3.4", "2001:DB8:0:0::1", "fe80::1%eth0", "0.0.0.0", "1.2.3", "a..b", "x:6443", "é.example", strings.Repeat("a.", 130)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := Cluster{store.Cluster{ControlPlaneHost: "before.example"}}
		var check fault.Check
		c.moveTo(&check, text)
		if check.Err() != nil {
			return
		}
		host := c.rec.ControlPlaneHost
		if host == "" {
			if strings.Trim(strings.TrimSpace(text), ".") != "" {
				t.Errorf("%q was taken for no host", text)
			}
			return
		}
		if a, err := netip.ParseAddr(host); err == nil {
			if a.Zone() != "" || a.String() != host {
				t.Errorf("%q was kept as the address %q, whose spelling is %q", text, host, a)
			}
		} else if len(host) > 253 || strings.ToLower(host) != host || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || strings.Contains(host, "..") {
			t.Errorf("%q was kept as the name %q", text, host)
		}
		again := c
		var second fault.Check
		again.moveTo(&second, host)
		if second.Err() != nil || again.rec.ControlPlaneHost != host || len(again.rec.FormerHosts) != len(c.rec.FormerHosts) {
			t.Errorf("%q is not taken again as it is: %v", host, second.Err())
		}
	})
}

// FuzzNewCluster: what is asked for is refused with the places that are wrong,
// or becomes a cluster whose names every backend and store takes.
func FuzzNewCluster(f *testing.F) {
	f.Add("My cluster", "", "", "", int64(1))
	f.Add("李雷", "a-b", "a-b", "v1.36.3", int64(0))
	f.Add("\u202e", "-", "default", "1.36.3", int64(-1))
	f.Add("kube-system", "", "kube-system", "v1", int64(1)<<62)
	versions := []provision.Version{{Name: "v1.36.3"}, {Name: "v1.35.0"}}
	f.Fuzz(func(t *testing.T, name, vcluster, namespace, version string, amount int64) {
		r := Request{Name: name, VclusterName: vcluster, Namespace: namespace, KubernetesVersion: version}
		r.WorkloadCPULimitMilli, r.ControlPlaneMemoryRequestMiB = &amount, &amount
		c, err := newCluster(id.Cluster{}, id.User{}, r, versions, time.Unix(1, 0))
		if err != nil {
			for _, place := range fieldsOf(t, err) {
				if !strings.HasPrefix(place.Location, "body.") || place.Message == "" || !utf8.ValidString(place.Message) {
					t.Errorf("%+v is no place", place)
				}
			}
			return
		}
		rec := c.Record()
		if !labelRE.MatchString(rec.VclusterName) || len(rec.VclusterName) > maxVclusterName || rec.Namespace != rec.VclusterName || reserved(rec.VclusterName) {
			t.Errorf("%+v became %q in %q", r, rec.VclusterName, rec.Namespace)
		}
		if !utf8.ValidString(rec.Name) || strings.ContainsAny(rec.Name, "\x00\n\r\x1b") || strings.TrimSpace(rec.Name) == "" || utf8.RuneCountInString(rec.Name) > maxName {
			t.Errorf("the name is %q", rec.Name)
		}
		if rec.KubernetesVersion != "v1.36.3" && rec.KubernetesVersion != "v1.35.0" {
			t.Errorf("the version is %q", rec.KubernetesVersion)
		}
		if rec.WorkloadCPULimitMilli < 1 || rec.WorkloadCPULimitMilli > maxMilli {
			t.Errorf("the limit is %d", rec.WorkloadCPULimitMilli)
		}
	})
}

func fieldsOf(t *testing.T, err error) []fault.Field {
	t.Helper()
	e, ok := err.(*fault.Error) //nolint:errorlint // a check's own
	if !ok || e.Kind != fault.Invalid || len(e.Fields) == 0 {
		t.Fatalf("a refusal without places: %v", err)
	}
	return e.Fields
}
