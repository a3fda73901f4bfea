package helmprovision

import (
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestInstallationsOnOneHostLeaveEachOtherAlone: they neither see, take, measure
// nor remove what another one made, not even by the same id and name.
func TestInstallationsOnOneHostLeaveEachOtherAlone(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	config := b.config(t)
	mine := start(t, config)
	config.Installation = "another"
	other := start(t, config)
	w := wanted(t, mine)
	apply(t, mine, w)
	until(t, mine, w.ID, provision.Ready)

	if err := other.window.await(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if seen, err := other.Observe(t.Context(), w.ID); err != nil || seen.Phase != provision.Absent {
		t.Errorf("the other installation sees %+v, %v", seen, err)
	}
	if _, err := other.Kubeconfig(t.Context(), w.ID); err == nil {
		t.Error("the other installation has the kubeconfig")
	}
	refused(t, other.Apply(t.Context(), w), fault.Invalid, "namespace_taken", "somebody else")
	if err := other.Destroy(t.Context(), w.ID); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	if n := namespace(t, b, w.Name); n.DeletionTimestamp != nil || n.Annotations[noteCondemned] != "" || n.Labels[labelInstallation] != DefaultInstallation {
		t.Errorf("the namespace is %v, %v", n.Labels, n.Annotations)
	}
	if seen, err := mine.Observe(t.Context(), w.ID); err != nil || seen.Phase != provision.Ready {
		t.Errorf("its own installation sees %+v, %v", seen, err)
	}
	if err := mine.Destroy(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
}

func TestAnInstallationIsNamedByADNSLabel(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{"": true, "eu-1": true, "EU": false, "a.b": false, "-a": false, strings.Repeat("x", 64): false} {
		c := bare(t)
		c.Installation = name
		if c, err := c.withDefaults(); (err == nil) != ok || ok && c.Installation == "" {
			t.Errorf("%q: %q, %v", name, c.Installation, err)
		}
	}
}
