package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store  store.Store
	Seal   seal.Sealer
	Door   tenants.Door
	Log    *slog.Logger
	Now    func() time.Time
	Random id.Random
	Secret func() ([32]byte, error) // unpredictable bytes
}

// Service is the only way to change join tokens.
type Service struct {
	deps    Deps
	journal journal.Journal
	desk    once.Desk
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Seal == nil || d.Door.Provisioner == nil || d.Door.Connector == nil || d.Log == nil || d.Now == nil || d.Random == nil || d.Secret == nil {
		return nil, errors.New("tokens: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}, desk: once.Desk{Store: d.Store, Seal: d.Seal, Now: d.Now}}, nil
}

// Limits of a token's life.
const (
	DefaultTTL = time.Hour
	MinTTL     = time.Minute
	MaxTTL     = 7 * 24 * time.Hour
	// bootstrapTTL is how long a downloaded script can be used; each download
	// starts it anew.
	bootstrapTTL = 15 * time.Minute
)

// MaxActive is how many tokens of a cluster can be used at one time.
const MaxActive = 500

// Minted is a new token with its value, which nobody will see again.
type Minted struct {
	Token store.Token
	Value string
}

// Mint makes a token for one machine to join a cluster.
func (s *Service) Mint(ctx context.Context, cluster id.Cluster, ttl time.Duration) (Minted, error) {
	var check fault.Check
	check.That(ttl >= MinTTL && ttl <= MaxTTL, "body.ttl_seconds", "must be between %d and %d", int(MinTTL.Seconds()), int(MaxTTL.Seconds()))
	if err := check.Err(); err != nil {
		return Minted{}, err
	}
	who, scope, err := access.Reads(ctx)
	if err != nil {
		return Minted{}, err
	}
	m, err := s.draft(ctx, cluster, who.UserID, ttl)
	if err != nil {
		return Minted{}, err
	}
	return once.Do(ctx, s.desk, who.UserID, func(ctx context.Context, tx store.Tx) (Minted, error) {
		c, err := tx.Clusters().GetForUpdate(ctx, scope, cluster) // so that two do not both make the last one
		if err != nil {
			return Minted{}, err
		}
		if err := access.Manages(who, c.OwnerUserID); err != nil {
			return Minted{}, err
		}
		if clusters.Origin(c.Origin) == clusters.Imported {
			return Minted{}, fault.Conflict.New("cluster_imported", "Machines join this cluster by the means of those who run it, not by a token from here.")
		}
		if !clusters.Of(c).Usable() {
			return Minted{}, notReady()
		}
		if n, err := tx.Tokens().CountActive(ctx, cluster, s.deps.Now(), MaxActive); err != nil || n >= MaxActive {
			return Minted{}, errors.Join(err, tooMany(n))
		}
		if err := tx.Tokens().Insert(ctx, m.Token); err != nil {
			return Minted{}, fmt.Errorf("keep token: %w", err)
		}
		return m, s.journal.Write(ctx, tx, about(m.Token, c, "create", "Made a join token for the cluster "+c.Name+"."))
	})
}

func tooMany(n int) error {
	if n < MaxActive {
		return nil
	}
	return fault.Conflict.New("too_many_tokens", "The cluster has %d join tokens that can be used. Use or revoke some of them first.", MaxActive)
}

func notReady() error {
	return fault.Conflict.New("cluster_not_ready", "The cluster is not ready for machines to join. Wait until it is reachable.")
}

func (s *Service) draft(ctx context.Context, cluster id.Cluster, by id.User, ttl time.Duration) (Minted, error) {
	raw, err := s.deps.Secret()
	if err != nil {
		return Minted{}, fmt.Errorf("make token: %w", err)
	}
	value := secret.New("kbt_" + base64.RawURLEncoding.EncodeToString(raw[:]))
	boot, err := s.bootstrap(ctx, value)
	if err != nil {
		return Minted{}, err
	}
	now := s.deps.Now()
	return Minted{Value: value.Reveal(), Token: store.Token{
		ID: id.New[id.TokenKind](now, s.deps.Random()), ClusterID: cluster, ValueHash: hashOf(value),
		DisplayPrefix: value.Reveal()[:10], BootstrapID: boot.ID, BootstrapSecretName: "bootstrap-token-" + boot.ID,
		Status: string(Active), CreatedByUserID: by, ExpiresAt: now.Add(ttl), CreatedAt: now,
	}}, nil
}

func hashOf(value secret.Text) []byte {
	sum := sha256.Sum256([]byte(value.Reveal())) // 256 random bits: a slow hash would add nothing
	return sum[:]
}

const bootstrapAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// bootstrap derives the Kubernetes bootstrap token of a join token. It is the
// same every time, and out of reach without both the value and the server's key.
func (s *Service) bootstrap(ctx context.Context, value secret.Text) (tenant.BootstrapToken, error) {
	raw, err := s.deps.Seal.Derive(ctx, "bootstrap-token", []byte(value.Reveal()))
	if err != nil {
		return tenant.BootstrapToken{}, fmt.Errorf("derive bootstrap token: %w", err)
	}
	text := make([]byte, 22)
	for i := range text {
		text[i] = bootstrapAlphabet[int(raw[i])%len(bootstrapAlphabet)] // 5.1 bits a character: 82 bits of secret
	}
	return tenant.BootstrapToken{ID: string(text[:6]), Secret: secret.New(string(text[6:]))}, nil
}

func about(t store.Token, c store.Cluster, action, message string) journal.Event {
	return journal.Event{Resource: "token", Action: action, ResourceID: t.ID.String(), Message: message, ClusterID: c.ID, ClusterName: c.Name}
}

// Revoke takes a token back. Its bootstrap secret goes at once where the tenant
// answers, else as soon as it does. Revoking again returns the token as it is.
func (s *Service) Revoke(ctx context.Context, i id.Token) (out store.Token, err error) {
	who, scope, err := access.Reads(ctx)
	if err != nil {
		return out, err
	}
	err = s.again(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Tokens().Get(ctx, scope, i)
		if err != nil {
			return err
		}
		c, err := tx.Clusters().Get(ctx, scope, rec.ClusterID)
		if err != nil {
			return err
		}
		if err := access.Manages(who, c.OwnerUserID); err != nil {
			return err
		}
		t := Token{rec}
		if !t.revoke(who.UserID, s.deps.Now()) {
			out = t.rec
			return nil
		}
		if err := tx.Tokens().Update(ctx, &t.rec); err != nil {
			return err
		}
		out = t.rec
		return s.journal.Write(ctx, tx, about(rec, c, "revoke", "Revoked a join token of the cluster "+c.Name+"."))
	})
	if err != nil {
		return store.Token{}, err
	}
	if out.SecretInTenant {
		s.tidyNow(ctx, out.ClusterID)
	}
	return out, nil
}

// tidyNow is best effort within a short time; the watcher tidies up later too.
// That the client has left is no reason to leave its secret.
func (s *Service) tidyNow(ctx context.Context, cluster id.Cluster) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	t, err := s.deps.Door.Open(ctx, cluster)
	if err == nil {
		err = s.Tidy(ctx, cluster, t)
	}
	if err != nil {
		s.deps.Log.WarnContext(ctx, "bootstrap secret not removed yet", "cluster", cluster.String(), "err", err)
	}
}

const tidyBatch = 100

// Tidy removes from a tenant the bootstrap secrets of tokens that are over.
func (s *Service) Tidy(ctx context.Context, cluster id.Cluster, in tenant.Tenant) error {
	var left []store.Token
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		left, err = tx.Tokens().Leftover(ctx, cluster, s.deps.Now(), tidyBatch)
		return err
	})
	if err != nil {
		return fmt.Errorf("find leftover tokens: %w", err)
	}
	for _, t := range left {
		if err := in.DeleteBootstrapToken(ctx, t.BootstrapID); err != nil {
			return fmt.Errorf("remove bootstrap secret: %w", err)
		}
		err := s.update(ctx, t.ID, func(t *Token) error { t.rec.SecretInTenant = false; return nil })
		if err != nil {
			return fmt.Errorf("record removal of bootstrap secret: %w", err)
		}
	}
	return nil
}

// update changes one token.
func (s *Service) update(ctx context.Context, i id.Token, change func(*Token) error) error {
	return s.again(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Tokens().Get(ctx, store.Everyone(), i)
		if err != nil {
			return err
		}
		t := Token{rec}
		if err := change(&t); err != nil {
			return err
		}
		return tx.Tokens().Update(ctx, &t.rec)
	})
}

// again runs do in a transaction, and from the start when somebody else changed
// the same token meanwhile.
func (s *Service) again(ctx context.Context, do func(context.Context, store.Tx) error) (err error) {
	for range maxTries {
		err = s.deps.Store.InTx(ctx, do)
		if fault.CodeOf(err) != "stale_version" {
			return err
		}
	}
	return err
}

const maxTries = 5

var valueRE = regexp.MustCompile(`^kbt_[A-Za-z0-9_-]{43}$`) //nolint:gochecknoglobals // a constant

// WellFormed reports whether text could be a token's value.
func WellFormed(text string) bool { return valueRE.MatchString(text) }
