package notifications_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/messagetext"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// What must be found nowhere.
const (
	code       = "493817"
	hookURL    = "https://hooks.slack.example.com/services/T0/B0/hunter2hook"
	slackToken = "xoxb-hunter2slacktoken"
	telegramID = "123456789"
	telegram   = telegramID + ":hunter2hunter2hunter2hunter2tele"
	signing    = "hunter2signing"
	headerWord = "hunter2header"
)

const (
	mailbox   = "ada.lovelace@example.com"
	slackUser = "U012AB3CD"
	chat      = "424242424"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// sent is a message that reached the other side.
type sent struct {
	channel string
	notify.Message
}

// outside is the other side: every channel, with no network.
type outside struct {
	mu   sync.Mutex
	got  []sent
	fail func(ctx context.Context, channel string, m notify.Message) error // nil: takes all
	open map[string]int                                                    // deliveries under way, by message
	most int                                                               // of one message at once
}

func (o *outside) notifier(channel string) notify.Notifier {
	return notify.NotifierFunc(func(ctx context.Context, m notify.Message) error {
		if err := m.Check(); err != nil {
			return err
		}
		o.mu.Lock()
		if o.open == nil {
			o.open = map[string]int{}
		}
		o.open[m.ID]++
		o.most = max(o.most, o.open[m.ID])
		fail := o.fail
		o.mu.Unlock()
		var err error
		if fail != nil {
			err = fail(ctx, channel, m)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.open[m.ID]--
		if err == nil {
			o.got = append(o.got, sent{channel, m})
		}
		return err
	})
}

func (o *outside) Email(notify.SMTP) (notify.Notifier, error)  { return o.notifier("email"), nil }
func (o *outside) Slack(notify.Slack) (notify.Notifier, error) { return o.notifier("slack"), nil }
func (o *outside) Telegram(notify.Telegram) (notify.Notifier, error) {
	return o.notifier("telegram"), nil
}

func (o *outside) Webhook(notify.Webhook) (notify.Notifier, error) { return o.notifier("webhook"), nil }

func (o *outside) fails(f func(ctx context.Context, channel string, m notify.Message) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = f
}

func (o *outside) received() []sent {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

// world is an installation with a user who has a cluster.
type world struct {
	*notifications.Service
	t       *testing.T
	store   *memstore.Store
	out     *outside
	log     *coretest.Log
	bell    bell.Bell
	observe notifications.Observer
	deps    notifications.Deps
	random  id.Random
	ada     id.User
	ctx     context.Context //nolint:containedctx // an administrator, in every test
}

func newWorld(t *testing.T, over ...store.Store) *world {
	t.Helper()
	w := &world{t: t, store: memstore.New(), out: &outside{}, log: &coretest.Log{}, random: coretest.Random()}
	words, err := messagetext.New()
	if err != nil {
		t.Fatal(err)
	}
	w.deps = notifications.Deps{
		Store: w.store, Seal: keyseal.New([32]byte{1}), Channels: w.out, Composer: words, Now: now, Random: w.random,
		SMTP: func(context.Context, store.Tx) (notify.SMTP, bool, error) {
			return notify.SMTP{Host: "mail"}, true, nil
		},
		BaseURL: func(context.Context, store.Tx) string { return "https://console.example.com/" },
	}
	if len(over) > 0 {
		w.deps.Store = over[0]
	}
	w.deps.Store = notifications.Ringing(w.deps.Store, w.bell.Ring)
	w.remake()
	w.ctx = coretest.As(t.Context(), coretest.NewUser(), actor.Admin)
	w.ada = w.account(mailbox)
	return w
}

// remake is for when deps have changed.
func (w *world) remake() {
	w.t.Helper()
	var err error
	if w.Service, err = notifications.New(w.deps); err != nil {
		w.t.Fatal(err)
	}
}

// inWorld runs a test on a clock that moves only when everybody waits.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

// pass lets time go by until everybody waits.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) account(email string) id.User {
	w.t.Helper()
	u := store.User{
		ID: id.New[id.UserKind](now(), w.random()), Email: email, Name: "Ada", Role: string(actor.User), Status: string(identity.Active),
		CreatedAt: now(), UpdatedAt: now(),
	}
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Insert(ctx, u) })
	return u.ID
}

func (w *world) tx(do func(context.Context, store.Tx) error) {
	w.t.Helper()
	if err := w.deps.Store.InTx(w.t.Context(), do); err != nil {
		w.t.Fatal(err)
	}
}

// run has a process deliver; stop ends it.
func (w *world) run(name string) (stop func()) {
	w.t.Helper()
	d, err := notifications.NewDeliverer(w.Service, w.log.Logger(), name, &w.bell, w.observe)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	return sync.OnceFunc(func() { cancel(); <-done })
}

// send writes a letter with a code.
func (w *world) send(key string) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		return w.Send(ctx, tx, identity.Letter{
			To: mailbox, Template: "verification-code", Key: key, Data: map[string]string{"code": code, "minutes": "10"},
		})
	})
}

// welcome writes a letter that is good for long.
func (w *world) welcome(key string) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		return w.Send(ctx, tx, identity.Letter{To: mailbox, Template: "welcome", UserID: w.ada, Key: key, Data: map[string]string{"name": "Ada"}})
	})
}

func (w *world) deliveries() []store.Delivery {
	w.t.Helper()
	out, err := w.Deliveries(w.ctx, store.DeliveryFilter{}, page.Query{Limit: 500})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Items
}

// only is the one delivery that there is.
func (w *world) only() store.Delivery {
	w.t.Helper()
	all := w.deliveries()
	if len(all) != 1 {
		w.t.Fatalf("there are %d deliveries: %+v", len(all), all)
	}
	return all[0]
}

// setUp turns every channel on.
func (w *world) setUp(more ...func(*notifications.Change)) {
	w.t.Helper()
	c := notifications.Change{
		Enabled: new(notifications.Channels()),
		SlackOn: new(true), SlackWebhookURL: new(secret.New(hookURL)), SlackBotToken: new(secret.New(slackToken)),
		TelegramOn: new(true), TelegramBotToken: new(secret.New(telegram)), TelegramChatID: new("-100"),
		WebhookOn: new(true), WebhookURL: new("https://example.com/hook"), WebhookSecret: new(secret.New(signing)),
		WebhookHeaders: &map[string]secret.Text{"X-Key": secret.New(headerWord)},
	}
	for _, m := range more {
		m(&c)
	}
	if _, err := w.Configure(w.ctx, c); err != nil {
		w.t.Fatal(err)
	}
}

// cluster is one of Ada's that works.
func (w *world) cluster(change ...func(*store.Cluster)) store.Cluster {
	w.t.Helper()
	at := now()
	c := store.Cluster{
		ID: id.New[id.ClusterKind](at, w.random()), OwnerUserID: w.ada, Origin: string(clusters.Hosted), Name: "production", VclusterName: "production",
		Status: string(clusters.Ready), ConnectionStatus: string(clusters.Reachable), KubeconfigAvailableAt: &at, LastObservedAt: &at,
		CreatedAt: at, UpdatedAt: at,
	}
	for _, do := range change {
		do(&c)
	}
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	return c
}

// change does to a cluster what the platform does, and tells of it.
func (w *world) change(i id.Cluster, edit func(*clusters.Cluster)) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		before, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), i)
		if err != nil {
			return err
		}
		c := clusters.Of(before)
		edit(&c)
		after := c.Record()
		return errors.Join(tx.Clusters().Update(ctx, &after), w.ClusterChanged(ctx, tx, before, after))
	})
}

func lose(c *clusters.Cluster)  { c.Lose("The cluster's API does not answer.", false, now()) }
func reach(c *clusters.Cluster) { c.Reach(now()) }

// targets are where messages went, by channel.
func targets(all []sent) map[string][]string {
	out := map[string][]string{}
	for _, m := range all {
		out[m.channel] = append(out[m.channel], m.To)
	}
	for _, to := range maps.All(out) {
		slices.Sort(to)
	}
	return out
}

func refusedAt(err error) []string {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Invalid {
		return nil
	}
	var out []string
	for _, field := range f.Fields {
		out = append(out, field.Location)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
