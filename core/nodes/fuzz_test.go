package nodes

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// FuzzObserve: whatever a tenant shows, what is kept fits every store, and
// looking again shows nothing new.
func FuzzObserve(f *testing.F) {
	f.Add("worker-1", "uid", "192.0.2.1", "True", "a", "b", int64(4000), int64(1)<<62)
	f.Add(strings.Repeat("n", 300), "\x00", "\xff", "Maybe", strings.Repeat("k", 400), "\xed\xa0\x80", int64(-1)<<63, int64(-1))
	f.Fuzz(func(t *testing.T, name, text, ip, ready, key, value string, cpu, memory int64) {
		seen := tenant.Node{
			Name: name, UID: text, InternalIP: ip, PodCIDR: text, OSImage: value, KubeletVersion: key, ContainerRuntimeVersion: text,
			Ready: tenant.Condition(ready), Labels: map[string]string{key: value, text: ip, value: key},
			CPUAllocatableMilli: cpu, MemoryAllocatableBytes: memory, EphemeralStorageAllocatable: cpu ^ memory,
		}
		now := time.Unix(1, 0).UTC()
		kept := observe(store.Node{}, clipped(seen), now)
		for _, s := range []string{kept.UID, kept.InternalIP, kept.PodCIDR, kept.OSImage, kept.KubeletVersion, kept.ContainerRuntimeVersion, kept.Status} {
			storable(t, s, maxText)
		}
		for k, v := range kept.Labels {
			storable(t, k, maxLabel)
			storable(t, v, maxLabel)
		}
		for _, n := range []int64{kept.CPUAllocatableMilli, kept.MemoryAllocatableBytes, kept.EphemeralStorageAllocatable} {
			if n < 0 || n > maxAmount {
				t.Errorf("kept an amount of %d", n)
			}
		}
		if again := observe(kept, clipped(clipped(seen)), now); markOf(kept) != markOf(again) {
			t.Errorf("the second look differs:\n%+v\n%+v", kept, again)
		}
	})
}

func storable(t *testing.T, s string, most int) {
	t.Helper()
	if len(s) > most || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
		t.Errorf("kept %.300q", s)
	}
}

// FuzzIsName: what is taken for a node's name is one that Kubernetes takes.
func FuzzIsName(f *testing.F) {
	for _, s := range []string{"a", "worker-1.example", "a..b", "a.-b", "-", "A", "a\n", strings.Repeat("a", 254)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !IsName(name) {
			return
		}
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || strings.Trim(label, "-") != label || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Errorf("%q was taken for a name", name)
			}
		}
		storable(t, name, maxText)
	})
}
