package helmprovision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/downloader"
	"helm.sh/helm/v3/pkg/getter"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"
	"sigs.k8s.io/yaml"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// shelf has the chart at hand: it finds it once and reads it for each use, since
// rendering changes what has been read.
type shelf struct {
	config Config

	mu       sync.Mutex
	found    string    // where the chart lies, once it has been fetched
	fetching *fetching // what is under way; nil: nothing
	failed   error     // why what was under way before has failed
	hanging  int       // Helm's downloads that have begun and not ended
}

// maxHanging is how many of Helm's downloads, of which nobody expects anything any
// more, may wait for a repository that does not answer until no more begin.
const maxHanging = 4

// fetching is what all share who wait for the chart. Its outcome may be read when
// done is closed.
type fetching struct {
	done chan struct{}
	path string
	err  error
}

func newShelf(c Config) *shelf { return &shelf{config: c} }

// take returns the chart, for one use.
func (s *shelf) take(ctx context.Context) (*chart.Chart, error) {
	path, err := s.locate(ctx)
	if err != nil {
		return nil, err
	}
	c, err := loader.Load(path)
	if err != nil {
		return nil, s.missing(err)
	}
	return c, nil
}

// user is what an address may hold of one, and of his password.
var user = regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^/\s"']*@`) //nolint:gochecknoglobals // a constant

// withoutUser takes from Helm's errors what they repeat of addresses' passwords.
func withoutUser(said string) string { return user.ReplaceAllString(said, "$1") }

// name is the chart's without what its address may hold of secrets.
func (s *shelf) name() string {
	name := s.config.Chart
	if u, err := url.Parse(name); err == nil && u.User != nil {
		u.User = nil
		name = u.String()
	}
	if s.config.ChartVersion != "" {
		name += " " + s.config.ChartVersion
	}
	if u, err := url.Parse(s.config.ChartRepo); err == nil && u.Host != "" {
		name += " of " + u.Host
	}
	return name
}

// locate returns where the chart lies on this machine, and has it fetched if it
// does not.
func (s *shelf) locate(ctx context.Context) (string, error) {
	if s.isPath() {
		return s.config.Chart, nil
	}
	return s.fetch(ctx)
}

func (s *shelf) isPath() bool {
	if registry.IsOCI(s.config.Chart) {
		return false
	}
	if filepath.IsAbs(s.config.Chart) || strings.HasPrefix(s.config.Chart, ".") {
		return true
	}
	_, err := os.Stat(s.config.Chart)
	return s.config.ChartRepo == "" && err == nil
}

// fetch waits for the chart, but no longer than ctx: it is fetched once for all who
// wait, and goes on without them. What became of it those who come next will know.
func (s *shelf) fetch(ctx context.Context) (string, error) {
	s.mu.Lock()
	if s.found != "" { // meanwhile
		defer s.mu.Unlock()
		return s.found, nil
	}
	f, before := s.fetching, s.failed
	if f == nil && s.hanging >= maxHanging {
		defer s.mu.Unlock()
		return "", before
	}
	if f == nil {
		f = &fetching{done: make(chan struct{})}
		s.fetching = f
		s.hanging++
		go s.run(context.WithoutCancel(ctx), f)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.path, f.err
	case <-ctx.Done():
	}
	if before != nil {
		return "", before
	}
	return "", s.coming(ctx.Err())
}

// run fetches the chart. Helm's downloader knows no context, and some of its ways no
// end: who waits is told when the time is over, and has the chart if it comes later.
func (s *shelf) run(ctx context.Context, f *fetching) {
	late := time.AfterFunc(s.config.ChartTimeout, func() { s.settle(f, "", s.missing(context.DeadlineExceeded)) })
	defer late.Stop()
	var path string
	err := guarded(ctx, func(context.Context) (err error) { path, err = s.download(); return err })
	s.settle(f, path, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hanging--
}

// settle has those who wait hear what has become of the chart. Only a chart is news
// after they did.
func (s *shelf) settle(f *fetching, path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.found = path
	}
	if s.fetching != f {
		return
	}
	f.path, f.err = path, err
	s.failed, s.fetching = err, nil
	close(f.done)
}

func (s *shelf) download() (string, error) {
	sum := sha256.Sum256([]byte(s.config.Chart + "\n" + s.config.ChartRepo + "\n" + s.config.ChartVersion))
	kept := filepath.Join(s.config.CacheDir, hex.EncodeToString(sum[:8])+".tgz")
	if _, err := os.Stat(kept); err != nil || s.config.ChartVersion == "" {
		if err := s.downloadTo(kept); err != nil {
			return "", s.missing(err)
		}
	}
	return kept, nil
}

func (s *shelf) downloadTo(kept string) error {
	if err := os.MkdirAll(s.config.CacheDir, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.config.CacheDir, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // only a temporary folder
	settings := cli.New()
	settings.RepositoryCache, settings.RepositoryConfig = dir, filepath.Join(dir, "repositories.yaml")
	dl := downloader.ChartDownloader{
		Out: io.Discard, Getters: getter.All(settings),
		RepositoryConfig: settings.RepositoryConfig, RepositoryCache: settings.RepositoryCache,
	}
	ref := s.config.Chart
	if registry.IsOCI(ref) {
		client, err := registry.NewClient(registry.ClientOptWriter(io.Discard))
		if err != nil {
			return err
		}
		dl.RegistryClient, dl.Options = client, []getter.Option{getter.WithRegistryClient(client)}
	} else if s.config.ChartRepo != "" {
		if ref, err = repo.FindChartInRepoURL(s.config.ChartRepo, s.config.Chart, s.config.ChartVersion, "", "", "", dl.Getters); err != nil {
			return err
		}
	}
	file, _, err := dl.DownloadTo(ref, s.config.ChartVersion, dir)
	if err != nil {
		return err
	}
	return os.Rename(file, kept)
}

// readValues returns the operator's values.
func readValues(path string) (map[string]any, error) {
	values := map[string]any{}
	if path == "" {
		return values, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, badValuesFile(path, "cannot be read").Because(err)
	}
	object, err := yaml.YAMLToJSON(text)
	if err != nil { // the error may quote a secret
		where := ""
		if line := atLine.FindString(err.Error()); line != "" {
			where = ": see " + line
		}
		return nil, badValuesFile(path, "is no YAML%s", where)
	}
	if err := json.Unmarshal(object, &values); err != nil {
		return nil, badValuesFile(path, "must hold a YAML object, of names with their values")
	}
	return values, nil
}

// atLine is where a parser of YAML has stumbled.
var atLine = regexp.MustCompile(`line [0-9]+`) //nolint:gochecknoglobals // a constant

func badValuesFile(path, what string, args ...any) *fault.Error {
	return fault.Unavailable.New("values_file_wrong", "The file of values for the vCluster chart, %s (%s), %s.", path, valuesVariable, fmt.Sprintf(what, args...)).At(valuesVariable)
}

// check has the chart's schema and templates judge the values, without the host
// cluster. What they refuse, with a refusal, can never be installed.
func check(c *chart.Chart, name string, values map[string]any) error {
	all, err := chartutil.CoalesceValues(c, values)
	if err != nil {
		return refusal{err}
	}
	if err := chartutil.ValidateAgainstSchema(c, all); err != nil {
		return refusal{err}
	}
	render := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	render.ClientOnly, render.DryRun, render.SkipSchemaValidation = true, true, true
	render.ReleaseName, render.Namespace = name, name
	if _, err := render.Run(c, values); err != nil {
		return refusal{err}
	}
	return nil
}

// setting reads a value at a path of names, or nil.
func setting(values map[string]any, path ...string) any {
	var at any = values
	for _, name := range path {
		table, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = table[name]
	}
	return at
}

func settingText(values map[string]any, path ...string) string {
	if v := setting(values, path...); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}
