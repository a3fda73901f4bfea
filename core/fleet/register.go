package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const (
	// MaxImported is how many clusters one user may have registered.
	MaxImported = 1000

	maxName        = 253
	maxDescription = 1000
	maxURL         = 2048
)

// Kinds of credentials.
const (
	ByKubeconfig = "kubeconfig"
	ByToken      = "token"
	InCluster    = "in_cluster"
)

// Credential is one of three ways into a cluster; exactly one is given.
type Credential struct {
	Kubeconfig secret.Text
	Context    string // of the Kubeconfig; empty: its current one

	Server string // with a Token
	CACert string // PEM; empty: an authority that the system trusts
	Token  secret.Text

	InCluster bool // the cluster that the server runs in
}

// IsZero reports whether nothing is given.
func (c Credential) IsZero() bool {
	return c.Kubeconfig.IsZero() && c.Token.IsZero() && c.Server == "" && !c.InCluster
}

// Registration is a cluster that is to be of the fleet.
type Registration struct {
	Name          string
	Description   string
	PrometheusURL string
	Credential    Credential
	Default       bool
}

// Register makes a cluster that others run one of the fleet. Whether it answers
// is not asked: it is watched from now on.
func (s *Service) Register(ctx context.Context, r Registration) (m store.Member, err error) {
	who, err := registers(ctx)
	if err != nil {
		return m, err
	}
	var check fault.Check
	checkText(&check, r.Name, r.Description, r.PrometheusURL)
	if err := check.Err(); err != nil {
		return m, err
	}
	to, kind, err := s.resolve(who, r.Credential)
	if err != nil {
		return m, err
	}
	n, err := s.newcomer(ctx, who, r, kind, to)
	if err != nil {
		return m, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.room(ctx, tx, who, 1); err != nil {
			return err
		}
		m, err = s.admit(ctx, tx, n)
		return err
	})
	if err == nil {
		s.deps.Committed()
	}
	return m, err
}

// RegisterAll registers a cluster for each context of a kubeconfig, or the one
// that the server runs in; the current one becomes the default. It is for a
// fresh installation: fault.Denied, code fleet_not_empty, once there is a cluster.
func (s *Service) RegisterAll(ctx context.Context, c Credential) (all []store.Member, err error) {
	who, err := registers(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := s.deps.Store.View(ctx, noneYet); err != nil {
		return nil, err
	}
	found, kind, err := s.contexts(who, c)
	if err != nil {
		return nil, err
	}
	newcomers := make([]newcomer, 0, len(found))
	for _, to := range found {
		if to.Refused != nil {
			return nil, at("kubeconfig", to.Refused)
		}
		r := Registration{Name: to.Name, Default: to.Current}
		if r.Name == "" {
			r.Name = "in-cluster"
		}
		var check fault.Check
		checkText(&check, r.Name, "", "")
		if err := check.Err(); err != nil {
			return nil, err
		}
		n, err := s.newcomer(ctx, who, r, kind, to)
		if err != nil {
			return nil, err
		}
		newcomers = append(newcomers, n)
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		all = nil
		if err := turn.Take(ctx, tx, turn.Fleet, s.deps.Now()); err != nil {
			return err
		}
		if err := noneYet(ctx, tx); err != nil {
			return err
		}
		if err := s.room(ctx, tx, who, len(newcomers)); err != nil {
			return err
		}
		for _, n := range newcomers {
			m, err := s.admit(ctx, tx, n)
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		return nil
	})
	if err == nil {
		s.deps.Committed()
	}
	return all, err
}

func noneYet(ctx context.Context, tx store.Tx) error {
	_, n, err := tx.Fleet().List(ctx, store.Everyone(), store.FleetFilter{}, 0, 0)
	if err != nil || n == 0 {
		return err
	}
	return fault.Denied.New("fleet_not_empty", "There are clusters already. Register further ones by themselves.")
}

func (s *Service) contexts(who actor.Actor, c Credential) ([]tenant.Context, string, error) {
	if !c.Kubeconfig.IsZero() && c.Context == "" && !c.InCluster {
		found, err := s.deps.Reader.Contexts(c.Kubeconfig)
		return found, ByKubeconfig, at("kubeconfig", err)
	}
	to, kind, err := s.resolve(who, c)
	to.Current = true
	return []tenant.Context{to}, kind, err
}

// resolve makes a kubeconfig of a credential. The cluster that the server runs
// in is for administrators: its credential is the server's own.
func (s *Service) resolve(who actor.Actor, c Credential) (to tenant.Context, kind string, err error) {
	if err := c.check(); err != nil {
		return to, "", err
	}
	switch {
	case c.InCluster && who.Role != actor.Admin:
		return to, "", access.Forbidden()
	case c.InCluster:
		to, err = s.deps.Reader.InCluster()
		return to, InCluster, err
	case !c.Kubeconfig.IsZero():
		to, err = s.pick(c)
		return to, ByKubeconfig, at("kubeconfig", err)
	}
	to, err = s.deps.Reader.WithToken(c.Server, c.CACert, c.Token)
	return to, ByToken, at("api_server", err)
}

// inBody is where the fields of a credential are in the request.
const inBody = "body.credential."

// check refuses more than one way, and half of one.
func (c Credential) check() error {
	var check fault.Check
	file, token := !c.Kubeconfig.IsZero(), c.Server != "" || !c.Token.IsZero() || c.CACert != ""
	check.That(file || token || c.InCluster, strings.TrimSuffix(inBody, "."), "must have a kubeconfig, or an api_server and a token, or in_cluster")
	check.That(file || c.Context == "", inBody+"context", "must come with a kubeconfig")
	check.That(!token || !file && !c.InCluster, inBody+"api_server", "must not come with another credential")
	check.That(!file || !c.InCluster, inBody+"in_cluster", "must not come with another credential")
	check.That(!token || c.Server != "", inBody+"api_server", "is required with a token")
	check.That(!token || !c.Token.IsZero(), inBody+"token", "is required with an api_server")
	return check.Err()
}

// at says which field a refused credential was in.
func at(field string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Invalid {
		return err
	}
	named := *f
	named.Fields = []fault.Field{{Location: inBody + field, Message: "cannot be used; the detail says why"}}
	return &named
}

func (s *Service) pick(c Credential) (tenant.Context, error) {
	found, err := s.deps.Reader.Contexts(c.Kubeconfig)
	if err != nil {
		return tenant.Context{}, err
	}
	for _, to := range found {
		if c.Context == "" && to.Current || c.Context != "" && to.Name == c.Context {
			return to, to.Refused
		}
	}
	return tenant.Context{}, fault.Invalid.New("kubeconfig_invalid", "The kubeconfig has no such context, or no current one.")
}

// newcomer is a cluster that is about to be of the fleet.
type newcomer struct {
	cluster store.Cluster
	entry   store.FleetEntry
}

func (s *Service) newcomer(ctx context.Context, who actor.Actor, r Registration, kind string, to tenant.Context) (n newcomer, err error) {
	now := s.deps.Now()
	i := id.New[id.ClusterKind](now, s.deps.Random())
	c := clusters.NewImported(i, who.UserID, r.Name, to.Server, now)
	n.cluster = c.Record()
	n.entry = store.FleetEntry{
		ClusterID: i, Description: r.Description, PrometheusURL: r.PrometheusURL, Default: r.Default,
		Credential: kind, CredentialExpiresAt: to.ExpiresAt, UpdatedAt: now,
	}
	n.entry.Sealed, err = s.seal(ctx, i, kind, to)
	return n, err
}

// room refuses more clusters than a user may have registered.
func (s *Service) room(ctx context.Context, tx store.Tx, who actor.Actor, more int) error {
	if err := turn.Take(ctx, tx, turn.Owner(who.UserID), s.deps.Now()); err != nil {
		return err
	}
	counts, err := tx.Clusters().CountByStatus(ctx, store.OwnedBy(who.UserID), string(clusters.Imported))
	if err != nil {
		return fmt.Errorf("count clusters: %w", err)
	}
	for _, n := range counts {
		more += n
	}
	if more > MaxImported {
		return fault.Conflict.New("quota_exceeded", "You have registered as many clusters as you may, which is %d.", MaxImported)
	}
	return nil
}

func (s *Service) admit(ctx context.Context, tx store.Tx, n newcomer) (store.Member, error) {
	c, e := n.cluster, n.entry // a retried transaction starts from the same records
	if err := tx.Clusters().Insert(ctx, &c); err != nil {
		return store.Member{}, err
	}
	if e.Default {
		if err := tx.Fleet().NoDefault(ctx, s.deps.Now()); err != nil {
			return store.Member{}, err
		}
	}
	if err := tx.Fleet().Put(ctx, &e); err != nil {
		return store.Member{}, err
	}
	err := s.journal.Write(ctx, tx, about(c, "registered", "Registered the cluster "+c.Name+"."))
	e.Sealed = nil
	return store.Member{Cluster: c, Entry: e, Nodes: map[string]int{}}, err
}

func about(c store.Cluster, action, message string) journal.Event {
	return journal.Event{
		Resource: "cluster", Action: action, ResourceID: c.ID.String(), Message: message, ClusterID: c.ID, ClusterName: c.Name,
	}
}

func checkText(check *fault.Check, name, description, prometheus string) {
	check.That(isName(name), "body.name", "must be 1 to %d printable characters without / or spaces around it", maxName)
	check.That(utf8.RuneCountInString(description) <= maxDescription, "body.description", "must be at most %d characters", maxDescription)
	check.That(prometheus == "" || isURL(prometheus), "body.prometheus_url", "must be an http or https address without a user, or empty")
}

// isName lets contexts of kubeconfigs through, as they are, but for what would
// be another path.
func isName(s string) bool {
	if s == "" || len(s) > maxName || strings.TrimSpace(s) != s || s == "." || s == ".." {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '/' || r == '\\' || r == utf8.RuneError })
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURL && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}
