package notifications

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// message is one message for one target, before it is written down.
type message struct {
	key     string // the same when the message is written again
	channel string
	to      string  // empty: where the channel's own settings say
	user    id.User // whose target it is
	says    notify.Template
	due     time.Time  // zero: now
	cluster id.Cluster // that a cluster-alert is about
}

// contents is what of a message is readable with the server's key only.
type contents struct {
	To      string          `json:"to,omitempty"`
	Cluster string          `json:"cluster,omitempty"`
	Data    json.RawMessage `json:"data"`
}

func purpose(d id.Delivery) string { return "delivery/" + d.String() }

// post writes messages down in tx.
func (s *Service) post(ctx context.Context, tx store.Tx, all ...message) error {
	now := s.deps.Now()
	out := make([]store.Delivery, 0, len(all))
	for _, m := range all {
		d := store.Delivery{
			ID: id.New[id.DeliveryKind](now, s.deps.Random()), Key: m.key, Template: notify.NameOf(m.says), Channel: m.channel,
			UserID: m.user, Target: masked(m.to), Status: store.DeliveryPending, DueAt: m.due, CreatedAt: now, UpdatedAt: now,
		}
		if d.DueAt.Before(now) {
			d.DueAt = now
		}
		var err error
		if d.Sealed, err = s.seal(ctx, d.ID, m); err != nil {
			return err
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil
	}
	return tx.Deliveries().Insert(ctx, out...)
}

func (s *Service) seal(ctx context.Context, d id.Delivery, m message) ([]byte, error) {
	data, err := json.Marshal(m.says)
	if err != nil {
		return nil, fmt.Errorf("write a message down: %w", err)
	}
	plain, err := json.Marshal(contents{To: m.to, Cluster: m.cluster.String(), Data: data})
	if err != nil {
		return nil, fmt.Errorf("write a message down: %w", err)
	}
	sealed, err := s.deps.Seal.Seal(ctx, purpose(d), plain)
	if err != nil {
		return nil, fmt.Errorf("seal a message: %w", err)
	}
	return sealed, nil
}

// Send implements identity.Mail.
func (s *Service) Send(ctx context.Context, tx store.Tx, l identity.Letter) error {
	_, ok, err := s.deps.SMTP(ctx, tx)
	if err != nil && !isUnreadable(err) {
		return err
	}
	if !ok {
		return identity.NoMail{}.Send(ctx, tx, l)
	}
	says, err := s.letter(ctx, tx, l)
	if err != nil {
		return err
	}
	return s.post(ctx, tx, message{key: "mail/" + l.Key, channel: Email, to: l.To, user: l.UserID, says: says})
}

func (s *Service) letter(ctx context.Context, tx store.Tx, l identity.Letter) (notify.Template, error) {
	switch l.Template {
	case "welcome":
		return notify.Welcome{Name: l.Data["name"], URL: s.console(ctx, tx, "")}, nil
	case "verification-code":
		minutes, err := strconv.Atoi(l.Data["minutes"])
		return notify.VerificationCode{Code: l.Data["code"], Minutes: minutes}, err
	case "password-reset":
		minutes, err := strconv.Atoi(l.Data["minutes"])
		return notify.PasswordReset{Code: l.Data["code"], Minutes: minutes, URL: s.console(ctx, tx, "/reset-password")}, err
	}
	return nil, fmt.Errorf("write a letter: there is no template %q", l.Template)
}

// console is the address of a page of the console, and empty while nobody has
// said where that is.
func (s *Service) console(ctx context.Context, tx store.Tx, path string) string {
	base := strings.TrimRight(s.deps.BaseURL(ctx, tx), "/")
	if base == "" {
		return ""
	}
	return base + path
}

// masked is a target as the log of deliveries shows it: enough for its owner to
// know it by, and too little to write to.
func masked(target string) string {
	if name, domain, isMail := strings.Cut(target, "@"); isMail && name != "" {
		return first(name, 1) + "***@" + domain
	}
	if target == "" {
		return ""
	}
	return first(target, 2) + "***"
}

func first(text string, n int) string { return string([]rune(text)[:min(n, len([]rune(text)))]) }
