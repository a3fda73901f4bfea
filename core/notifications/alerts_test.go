package notifications_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func (w *world) prefer(wish notifications.Wish) {
	w.t.Helper()
	if _, err := w.Prefer(coretest.As(w.t.Context(), w.ada, actor.User), wish); err != nil {
		w.t.Fatal(err)
	}
}

func TestAnOutageIsToldOnceAndItsEndToo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp()
		w.prefer(notifications.Wish{Slack: new(true), SlackTarget: new(slackUser), Telegram: new(true), TelegramChatID: new(chat)})
		c := w.cluster()
		defer w.run("a")()
		w.change(c.ID, lose)
		w.change(c.ID, func(c *clusters.Cluster) { c.Lose("It has failed.", true, now()) })
		pass(90 * time.Second)
		if got := w.out.received(); len(got) > 0 {
			t.Errorf("told too early: %+v", targets(got))
		}
		pass(4 * time.Minute)
		want := map[string][]string{"email": {mailbox}, "slack": {"", slackUser}, "telegram": {"", chat}, "webhook": {""}}
		got := w.out.received()
		if !reflect.DeepEqual(targets(got), want) {
			t.Errorf("told to %v, want %v", targets(got), want)
		}
		for _, m := range got {
			if m.Event != "cluster-alert" || !strings.Contains(m.Subject+m.Text, "production") || !strings.Contains(m.Text, "does not answer") {
				t.Errorf("said: %+v", m)
			}
			if (m.Data != nil) != (m.channel == "webhook") {
				t.Errorf("data through %s: %s", m.channel, m.Data)
			}
		}
		w.change(c.ID, reach)
		w.change(c.ID, reach)
		pass(10 * time.Second)
		all := w.out.received()
		if again := all[len(got):]; !reflect.DeepEqual(targets(again), want) || !strings.Contains(again[0].Subject+again[0].Text, "ready") {
			t.Errorf("its end: %+v", again)
		}
	})
}

func TestAShortOutageIsNotTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster()
		defer w.run("a")()
		for range 3 {
			w.change(c.ID, lose)
			pass(10 * time.Second)
			w.change(c.ID, reach)
		}
		pass(10 * time.Minute)
		if got := w.out.received(); len(got) > 0 {
			t.Errorf("told: %+v", got)
		}
		all := w.deliveries()
		if len(all) == 0 || len(all) > 2 {
			t.Errorf("there are %d deliveries", len(all))
		}
		for _, d := range all {
			if d.Status != store.DeliveryDead || !strings.Contains(d.LastError, "changed again") {
				t.Errorf("the log: %+v", d)
			}
		}
	})
}

// TestAClusterThatComesAndGoesCostsLittle: a tenant's noise is one row a span.
func TestAClusterThatComesAndGoesCostsLittle(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster()
		for range 600 {
			w.change(c.ID, lose)
			pass(time.Second)
			w.change(c.ID, reach)
			pass(time.Second)
		}
		if n := len(w.deliveries()); n > 11 {
			t.Errorf("20 minutes of it left %d deliveries", n)
		}
	})
}

func TestWhatFailedIsToldAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster()
		defer w.run("a")()
		w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The quota is used up.", now()) })
		pass(3 * time.Second)
		got := w.out.received()
		if len(got) != 1 || got[0].To != mailbox || !strings.Contains(got[0].Text, "quota is used up") {
			t.Fatalf("told: %+v", got)
		}
		w.change(c.ID, reach) // what was wanted last has been reached after all
		pass(3 * time.Second)
		if got := w.out.received(); len(got) != 2 {
			t.Errorf("its end: %+v", got)
		}
	})
}

// TestAClusterThatComesUpAfterItsFirstFailureIsTold, once.
func TestAClusterThatComesUpAfterItsFirstFailureIsTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster(func(c *store.Cluster) {
			c.Status, c.ConnectionStatus, c.KubeconfigAvailableAt, c.LastObservedAt, c.Generation = string(clusters.Provisioning), "kubeconfig_pending", nil, nil, 1
		})
		defer w.run("a")()
		w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The host was full.", now()) })
		pass(time.Second)
		w.change(c.ID, func(c *clusters.Cluster) { c.Arrive(1, provision.Observed{}, now()) })
		w.change(c.ID, reach)
		pass(time.Second)
		got := w.out.received()
		if len(got) != 2 || !strings.Contains(got[0].Text, "host was full") || !strings.Contains(got[1].Subject+got[1].Text, "ready") {
			t.Errorf("told: %+v", got)
		}
	})
}

// TestWhatIsHeardLastIsHowItIs, however fast a cluster fails and comes back.
func TestWhatIsHeardLastIsHowItIs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster()
		defer w.run("a")()
		for range 2 {
			w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The quota is used up.", now()) })
			pass(time.Second)
			w.change(c.ID, reach)
			pass(time.Second)
		}
		var heard []bool
		for _, m := range w.out.received() {
			heard = append(heard, strings.Contains(m.Subject+m.Text, "ready"))
		}
		if !slices.Equal(heard, []bool{false, true, false, true}) {
			t.Errorf("told of being ready: %v", heard)
		}
	})
}

// TestTheEndOfAnOutageThatNobodyHeardOfIsNotTold, also when the cluster had not
// been looked at for long before it was missed.
func TestTheEndOfAnOutageThatNobodyHeardOfIsNotTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster()
		defer w.run("a")()
		pass(5 * time.Minute) // nobody has looked
		w.change(c.ID, lose)
		pass(90 * time.Second)
		w.change(c.ID, reach)
		pass(10 * time.Minute)
		if got := w.out.received(); len(got) > 0 {
			t.Errorf("told: %+v", got)
		}
	})
}

// TestOfItsEndHearWhoHaveHeardOfAnOutage, and no others.
func TestOfItsEndHearWhoHaveHeardOfAnOutage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp(func(c *notifications.Change) { c.Enabled = new([]string{"email", "slack"}) })
		w.out.fails(func(_ context.Context, channel string, _ notify.Message) error {
			if channel == "email" {
				return notify.Passing("The mail server", "busy", 0)
			}
			return nil
		})
		c := w.cluster()
		defer w.run("a")()
		w.change(c.ID, lose)
		pass(5 * time.Minute)
		w.change(c.ID, reach)
		w.out.fails(nil)
		pass(time.Hour)
		if got, want := targets(w.out.received()), map[string][]string{"slack": {"", ""}}; !reflect.DeepEqual(got, want) {
			t.Errorf("told to %v, want %v", got, want)
		}
	})
}

// TestAnAlertWaitsForTheMailServersSettings: whatever keeps them from being read,
// it is written down.
func TestAnAlertWaitsForTheMailServersSettings(t *testing.T) {
	for _, code := range []string{"store_busy", "settings_unreadable"} {
		t.Run(code, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				smtp, away := w.deps.SMTP, true
				w.deps.SMTP = func(ctx context.Context, tx store.Tx) (notify.SMTP, bool, error) {
					if away {
						return notify.SMTP{}, false, fault.Internal.New(code, "The settings cannot be read.")
					}
					return smtp(ctx, tx)
				}
				w.remake()
				c := w.cluster()
				w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The quota is used up.", now()) })
				stop := w.run("a")
				pass(time.Minute)
				if d := w.only(); d.Status != store.DeliveryPending || !strings.Contains(d.LastError, "cannot be read") {
					t.Errorf("meanwhile: %+v", d)
				}
				err := w.Send(t.Context(), nil, identity.Letter{To: mailbox, Template: "welcome"})
				if want := map[bool]string{true: "mail_not_configured", false: code}[code == "settings_unreadable"]; fault.CodeOf(err) != want {
					t.Errorf("a letter: %v", err)
				}
				stop()
				away = false
				defer w.run("b")()
				pass(10 * time.Minute)
				if got := w.out.received(); len(got) != 1 {
					t.Errorf("afterwards: %+v", got)
				}
			})
		})
	}
}

func TestNobodyHearsWhoDoesNotWantTo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp(func(c *notifications.Change) {
			c.Enabled = new([]string{"email", "telegram"})
			c.TelegramChatID = new("")
		})
		w.prefer(notifications.Wish{Email: new(false), SlackTarget: new(slackUser), Slack: new(true)})
		c := w.cluster()
		w.change(c.ID, lose)
		if all := w.deliveries(); len(all) > 0 {
			t.Errorf("she turned e-mail off, and the administrators Slack: %+v", all)
		}
		w.prefer(notifications.Wish{Email: new(true)})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			u, err := tx.Users().Get(ctx, w.ada)
			if u.Status = "banned"; err == nil {
				err = tx.Users().Update(ctx, &u)
			}
			return err
		})
		w.change(c.ID, reach)
		pass(10 * time.Minute)
		w.change(c.ID, lose)
		if all := w.deliveries(); len(all) > 0 {
			t.Errorf("she is banned: %+v", all)
		}
	})
}

// TestWhatIsPersonalGoesToThePersonOnly, also when the installation's own
// targets are all that could be reached.
func TestWhatIsPersonalGoesToThePersonOnly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		receipt := notify.OrderPaid{Order: "ord_1", Plan: "Team", Amount: "12.00 EUR", At: now()}
		pay := func() {
			w.tx(func(ctx context.Context, tx store.Tx) error { return w.OrderPaid(ctx, tx, w.ada, receipt) })
		}
		w.setUp(func(c *notifications.Change) { c.SlackBotToken = nil })
		w.prefer(notifications.Wish{Email: new(false), Slack: new(true), SlackTarget: new(slackUser)})
		pay()
		if all := w.deliveries(); len(all) > 0 {
			t.Errorf("without a bot: %+v", all)
		}
		w.setUp()
		w.prefer(notifications.Wish{Email: new(true), Telegram: new(true), TelegramChatID: new(chat)})
		pay()
		pay()
		defer w.run("a")()
		pass(3 * time.Second)
		want := map[string][]string{"email": {mailbox}, "slack": {slackUser}, "telegram": {chat}}
		if got := targets(w.out.received()); !reflect.DeepEqual(got, want) {
			t.Errorf("went to %v, want %v", got, want)
		}
	})
}

// TestABotThatIsGoneSendsNoPersonalMessageElsewhere: it waits, and dies.
func TestABotThatIsGoneSendsNoPersonalMessageElsewhere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp()
		w.prefer(notifications.Wish{Email: new(false), Slack: new(true), SlackTarget: new(slackUser)})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return w.OrderPaid(ctx, tx, w.ada, notify.OrderPaid{Order: "ord_1", Plan: "Team", Amount: "12.00 EUR", At: now()})
		})
		w.setUp(func(c *notifications.Change) { c.SlackBotToken = &noSecret })
		defer w.run("a")()
		pass(3 * time.Hour)
		if d := w.only(); d.Status != store.DeliveryDead || !strings.Contains(d.LastError, "bot token") || len(w.out.received()) > 0 {
			t.Errorf("%+v, received %+v", d, w.out.received())
		}
	})
}
