package planeprovision

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func TestLostDataIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(dir string) error{
		"removed":    os.RemoveAll,
		"emptied":    func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) },
		"replaced":   func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Symlink("/tmp", dir)) },
		"another CA": func(dir string) error { return os.Remove(filepath.Join(dir, "ca")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, want := fresh(t), wanted(1)
			apply(t, p, want)
			await(t, p, want.ID, provision.Ready)
			stop(t, p)
			if err := lose(filepath.Join(p.config.Dir, dataDir, want.ID.String())); err != nil {
				t.Fatal(err)
			}
			again := start(t, p.config)
			for range 2 {
				o := await(t, again, want.ID, provision.Failed)
				if !strings.Contains(o.Reason, "is gone") || !strings.Contains(o.Reason, "delete the cluster") {
					t.Errorf("reason %q", o.Reason)
				}
				apply(t, again, want) // which does not help, on purpose
			}
			await(t, again, want.ID, provision.Failed)
			if err := again.Destroy(t.Context(), want.ID); err != nil {
				t.Errorf("Destroy: %v", err)
			}
			if _, err := os.Stat("/tmp"); err != nil {
				t.Errorf("a link was followed: %v", err)
			}
		})
	}
}

func TestDataLostWhileRunningIsNoticed(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	running := await(t, p, want.ID, provision.Ready)
	dir := filepath.Join(p.config.Dir, dataDir, want.ID.String())
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	await(t, p, want.ID, provision.Failed)
	if err := syscall.Kill(pid(t, running), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child runs on: %v", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	await(t, p, want.ID, provision.Ready) // it was put back
}

func TestDestroyLeavesNoFile(t *testing.T) {
	t.Parallel()
	p, want, other := fresh(t), wanted(1), wanted(2)
	apply(t, p, want)
	apply(t, p, other)
	await(t, p, want.ID, provision.Ready)
	if err := p.Destroy(t.Context(), want.ID); err != nil {
		t.Fatal(err)
	}
	if left := find(t, p.config.Dir, want.ID.String()); len(left) != 0 {
		t.Errorf("left: %s", left)
	}
	if left := find(t, p.config.Dir, other.ID.String()); len(left) == 0 {
		t.Error("the other cluster's files are gone too")
	}
}

// TestInterruptedDestroyEnds builds what a crash in the middle of Destroy leaves.
func TestInterruptedDestroyEnds(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	stop(t, p)
	record := filepath.Join(p.config.Dir, recordsDir, want.ID.String())
	if err := errors.Join(os.Rename(record+live, record+condemned), os.Remove(filepath.Join(p.config.Dir, dataDir, want.ID.String(), "ca"))); err != nil {
		t.Fatal(err)
	}
	again := start(t, p.config)
	await(t, again, want.ID, provision.Absent) // by itself
	if left := find(t, p.config.Dir, want.ID.String()); len(left) != 0 {
		t.Errorf("left: %s", left)
	}
}

// TestInterruptedCreationEnds builds what a crash in the middle of Apply leaves.
func TestInterruptedCreationEnds(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(f *folder, r record) error{
		"before the folder": func(*folder, record) error { return nil },
		"before the marker": func(f *folder, r record) error { return f.root.Mkdir(r.data(), 0o700) },
		"before the record": func(f *folder, r record) error {
			_, err := f.makeData(r)
			return errors.Join(err, f.write(r))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, want := config(filepath.Join(t.TempDir(), "planes")), wanted(1)
			f, err := openFolder(c.Dir)
			if err != nil {
				t.Fatal(err)
			}
			r := record{ID: want.ID, Port: 28000 + int(want.ID.String()[20])}
			r.take(want)
			if err := errors.Join(f.write(r), crash(f, r), f.close()); err != nil {
				t.Fatal(err)
			}
			await(t, start(t, c), want.ID, provision.Ready)
		})
	}
}

func TestDestroyLeavesAloneWhatItDidNotMake(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	stop(t, p)
	dir := filepath.Join(p.config.Dir, dataDir, want.ID.String())
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "thesis.txt"), "years of work")
	again := start(t, p.config)
	if err := again.Destroy(t.Context(), want.ID); fault.CodeOf(err) != "data_not_ours" {
		t.Errorf("Destroy: %v; want it refused", err)
	}
	if o := again.look(want.ID); o.Phase != provision.Removing || !strings.Contains(o.Reason, dir) {
		t.Errorf("%+v; want it to say what blocks", o)
	}
	if text := read(t, again, want.ID, "thesis.txt"); text != "years of work" {
		t.Errorf("the file holds %q", text)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := again.Destroy(t.Context(), want.ID); err != nil {
		t.Errorf("Destroy, once it is moved away: %v", err)
	}
}

func TestSymbolicLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "precious"), "x")
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	dir := filepath.Join(p.config.Dir, dataDir, want.ID.String())
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := p.Destroy(t.Context(), want.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Errorf("what a link leads to was removed: %v", err)
	}
}

func TestFolderInTheWayIsNotTaken(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	if err := os.Mkdir(filepath.Join(p.config.Dir, dataDir, want.ID.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context(), want); fault.CodeOf(err) != "data_in_the_way" {
		t.Errorf("Apply: %v", err)
	}
	if err := p.Destroy(t.Context(), want.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.config.Dir, dataDir, want.ID.String())); err != nil {
		t.Errorf("the folder was removed: %v", err)
	}
}

func TestUnreadableRecordIsAFailure(t *testing.T) {
	t.Parallel()
	p, want, good := fresh(t), wanted(1), wanted(2)
	apply(t, p, want)
	apply(t, p, good)
	await(t, p, want.ID, provision.Ready)
	stop(t, p)
	write(t, filepath.Join(p.config.Dir, recordsDir, want.ID.String()+live), "{")
	write(t, filepath.Join(p.config.Dir, recordsDir, unfinished+"X"), "half")
	write(t, filepath.Join(p.config.Dir, recordsDir, "README"), "not a record")
	again := start(t, p.config)
	await(t, again, good.ID, provision.Ready)
	if o := await(t, again, want.ID, provision.Failed); !strings.Contains(o.Reason, "cannot be read") {
		t.Errorf("reason %q", o.Reason)
	}
	if err := again.Destroy(t.Context(), want.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.config.Dir, recordsDir, unfinished+"X")); err == nil {
		t.Error("what a crash left unfinished is still there")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	p := fresh(t)
	second := unstarted(t, p.config)
	if err := second.Start(t.Context()); fault.CodeOf(err) != "planes_in_use" {
		t.Errorf("a second process on the folder: %v", err)
	}
}
