package planeprovision

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// folder is Config.Dir:
//
//	lock                       held by the process that keeps the planes
//	records/ID.json            a plane: there before anything else of it
//	records/ID.condemned       the same, while it is being removed; goes last
//	data/ID/                   all that the control plane is: the child's folder
//	data/ID/made-by-kubebyon   tells this folder from another in its place, and is
//	                           locked by the child that lives in it
//
// Records are apart from the data, so that missing data is noticed. Everything
// goes through an os.Root, which leads to nothing outside.
type folder struct {
	path string
	root *os.Root
	lock *os.File
}

const (
	recordsDir = "records"
	dataDir    = "data"
	live       = ".json"
	condemned  = ".condemned"
	unfinished = ".new-"
	marker     = "made-by-kubebyon"
)

// record is what is remembered of a plane.
type record struct {
	ID                id.Cluster `json:"id"`
	Name              string     `json:"name"`
	KubernetesVersion string     `json:"kubernetes_version"`
	Host              string     `json:"host,omitempty"`
	FormerHosts       []string   `json:"former_hosts,omitempty"`
	Port              int        `json:"port"`                // for life
	Made              bool       `json:"made"`                // the data folder was there
	Authority         string     `json:"authority,omitempty"` // digest of the certificate authority, once it was ready

	Destroying bool `json:"-"` // the name of the record's file says so
	Unreadable bool `json:"-"` // only ID is known
}

// take remembers what matters of a want here.
func (r *record) take(w provision.Want) {
	r.Name, r.KubernetesVersion, r.Host, r.FormerHosts = w.Name, w.KubernetesVersion, w.Host, slices.Clone(w.FormerHosts)
}

func (r record) data() string { return path.Join(dataDir, r.ID.String()) }

// openFolder takes the folder for this process.
func openFolder(dir string) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("make the folder of control planes: %w", err)
	}
	f := &folder{path: dir}
	if f.root, err = os.OpenRoot(dir); err != nil {
		return nil, fmt.Errorf("open the folder of control planes: %w", err)
	}
	if err = f.claim(); err != nil {
		return nil, errors.Join(err, f.root.Close())
	}
	return f, nil
}

func (f *folder) claim() (err error) {
	if f.lock, err = f.root.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("open the folder of control planes: %w", err)
	}
	if err = syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fault.Conflict.New("planes_in_use", "Another process keeps the control planes in %s.", f.path).Because(err), f.lock.Close())
	}
	for _, dir := range []string{recordsDir, dataDir} {
		if err = f.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return errors.Join(fmt.Errorf("make the folder of control planes: %w", err), f.lock.Close())
		}
	}
	return nil
}

func (f *folder) close() error { return errors.Join(f.lock.Close(), f.root.Close()) }

// abs is a plane's data folder as the child is told.
func (f *folder) abs(r record) string { return filepath.Join(f.path, filepath.FromSlash(r.data())) }

// records reads all of them, oldest first, and clears away what a crash has left
// unfinished. What is no record it leaves alone.
func (f *folder) records() (out []record, err error) {
	entries, err := fs.ReadDir(f.root.FS(), recordsDir)
	if err != nil {
		return nil, fmt.Errorf("list control planes: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			_ = f.root.Remove(path.Join(recordsDir, e.Name()))
		}
		ext := path.Ext(e.Name())
		cluster, err := id.Parse[id.ClusterKind](strings.TrimSuffix(e.Name(), ext))
		if err != nil || ext != live && ext != condemned {
			continue
		}
		out = append(out, f.read(cluster, e.Name(), ext == condemned))
	}
	return out, nil
}

func (f *folder) read(cluster id.Cluster, name string, isCondemned bool) record {
	var r record
	text, err := f.root.ReadFile(path.Join(recordsDir, name))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.ID != cluster {
		r = record{ID: cluster, Made: true, Unreadable: true}
	}
	r.Destroying = isCondemned
	return r
}

// write replaces a plane's record. After a crash there is the old or the new one.
func (f *folder) write(r record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write a control plane's record: %w", err)
	}
	name := path.Join(recordsDir, r.ID.String()+live)
	tmp := path.Join(recordsDir, unfinished+rand.Text())
	err = f.writeSynced(tmp, text)
	if err == nil {
		err = f.root.Rename(tmp, name)
	}
	if err != nil {
		_ = f.root.Remove(tmp)
		return unwritable(err)
	}
	return f.sync(recordsDir)
}

func (f *folder) writeSynced(name string, text []byte) error {
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

func (f *folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return unwritable(err)
	}
	return nil
}

func unwritable(err error) error {
	return fault.Unavailable.New("planes_not_writable", "The files of the control plane cannot be written.").Because(err)
}

// makePlane records a plane, then makes its folder, then records that the folder
// was there: from then on its absence is a loss.
func (f *folder) makePlane(r record) (record, error) {
	if _, err := f.root.Lstat(r.data()); err == nil {
		return r, fault.Conflict.New("data_in_the_way", "The folder %s is in the way; KubeBYON has no record of it. Move it away.", f.abs(r))
	}
	err := f.write(r)
	if err == nil {
		r, err = f.makeData(r)
	}
	if err != nil {
		_ = f.root.RemoveAll(r.data())
		_ = f.root.Remove(path.Join(recordsDir, r.ID.String()+live))
	}
	return r, err
}

// makeData may have been interrupted before.
func (f *folder) makeData(r record) (record, error) {
	if err := f.root.Mkdir(r.data(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return r, unwritable(err)
	}
	err := f.writeSynced(path.Join(r.data(), marker), []byte(r.ID.String()+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return r, unwritable(err)
	}
	if err := errors.Join(f.sync(r.data()), f.sync(dataDir)); err != nil {
		return r, err
	}
	r.Made = true
	return r, f.write(r)
}

// holds reports whether a plane's data folder is the one that was made for it.
func (f *folder) holds(r record) bool {
	info, err := f.root.Lstat(r.data())
	if err != nil || !info.IsDir() {
		return false
	}
	text, err := f.root.ReadFile(path.Join(r.data(), marker))
	// A crash may have left the marker empty; it is there all the same.
	return err == nil && (len(text) == 0 || string(bytes.TrimSpace(text)) == r.ID.String())
}

// errHeld says that a child lives in a data folder.
var errHeld = errors.New("a process that an earlier one has started lives in the folder")

// hold locks a plane's data folder for the child that gets the file, or for as
// long as it is open. A child of a process that was killed takes a moment to
// notice, and until then it may write files.
func (f *folder) hold(r record) (*os.File, error) {
	held, err := f.root.OpenFile(path.Join(r.data(), marker), os.O_RDWR, 0)
	if unsure(err) {
		return nil, fmt.Errorf("see whether somebody lives in the data folder: %w", err)
	}
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // nobody was put into what cannot be opened: there is nothing to hold
	}
	err = syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errHeld
	}
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

// unsure reports whether a file may be there and well although it could not be
// opened.
func unsure(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EACCES)
}

// condemn is a rename, which works on a full disk too.
func (f *folder) condemn(r record) error {
	name := path.Join(recordsDir, r.ID.String())
	if err := f.root.Rename(name+live, name+condemned); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritable(err)
	}
	return f.sync(recordsDir)
}

// remove removes a condemned plane, its record last.
func (f *folder) remove(r record) error {
	err := f.removeData(r)
	if err == nil {
		err = f.root.RemoveAll(path.Join(recordsDir, r.ID.String()+condemned))
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if err != nil {
		return fault.Unavailable.New("data_not_removed", "The folder %s cannot be removed.", f.abs(r)).Because(err)
	}
	return f.sync(recordsDir)
}

// removeData removes the marker last, and a folder that has none not at all: it
// is another than was made here. Of a symbolic link only the link goes.
func (f *folder) removeData(r record) error {
	info, err := f.root.Lstat(r.data())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return f.root.Remove(r.data())
	}
	entries, err := fs.ReadDir(f.root.FS(), r.data())
	if err != nil {
		return err
	}
	if len(entries) > 0 && !f.holds(r) {
		return fault.Conflict.New("data_not_ours", "The folder %s is not the one that was made for this control plane. Move it away.", f.abs(r))
	}
	for _, e := range entries {
		if e.Name() == marker {
			continue
		}
		if err := f.root.RemoveAll(path.Join(r.data(), e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(f.root.RemoveAll(r.data()), f.sync(dataDir))
}

func (f *folder) kubeconfig(cluster id.Cluster) ([]byte, error) {
	return f.root.ReadFile(path.Join(record{ID: cluster}.data(), "admin.kubeconfig"))
}
