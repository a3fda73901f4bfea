package bunstore

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type signInRow struct {
	bun.BaseModel `bun:"table:sign_ins,alias:g"`

	ID        key[id.SignInKind] `bun:"id,pk"`
	UserID    key[id.UserKind]   `bun:"user_id"`
	At        moment             `bun:"at"`
	IP        string             `bun:"ip"`
	UserAgent string             `bun:"user_agent"`
	Method    string             `bun:"method"`
	Result    string             `bun:"result"`
}

func (r signInRow) record() store.SignIn {
	return store.SignIn{
		ID: r.ID.ID, UserID: r.UserID.ID, At: r.At.time(), IP: r.IP, UserAgent: r.UserAgent, Method: r.Method, Result: r.Result,
	}
}

type signIns struct{ *unit }

func (s signIns) Append(ctx context.Context, rec store.SignIn) error {
	if !rec.UserID.IsZero() {
		if err := s.living(ctx, rec.UserID); errors.Is(err, fault.NotFound) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return s.taken(s.insert(ctx, &signInRow{
		ID: keyOf(rec.ID), UserID: keyOf(rec.UserID), At: at(rec.At), IP: rec.IP, UserAgent: rec.UserAgent, Method: rec.Method, Result: rec.Result,
	}), "", nil)
}

func (s signIns) List(ctx context.Context, user id.User, q page.Query) (page.Of[store.SignIn], error) {
	return list[signInRow](ctx, s.unit, q, func(i store.SignIn) string { return i.ID.String() },
		func(q *bun.SelectQuery) { q.Where("g.user_id = ?", user.String()) }) // the zero user's is NULL
}

func (s signIns) DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT id FROM sign_ins WHERE at < ? LIMIT ?"+s.engine.sql().skipLocked+")"+
		" DELETE FROM sign_ins WHERE id IN (SELECT id FROM old)", at(t), max(limit, 0))
}

type avatarRow struct {
	bun.BaseModel `bun:"table:avatars,alias:b"`

	UserID      key[id.UserKind] `bun:"user_id,pk"`
	Tag         string           `bun:"tag"`
	ContentType string           `bun:"content_type"`
	Body        []byte           `bun:"body"`
	UpdatedAt   moment           `bun:"updated_at"`
}

func (r avatarRow) record() store.Avatar {
	return store.Avatar{UserID: r.UserID.ID, Tag: r.Tag, ContentType: r.ContentType, Body: r.Body, UpdatedAt: r.UpdatedAt.time()}
}

type avatars struct{ *unit }

func noAvatar() error { return notFound("avatar", "There is no such picture.") }

func (s avatars) Put(ctx context.Context, rec store.Avatar) error {
	if err := s.living(ctx, rec.UserID); err != nil {
		return err
	}
	return s.replace(ctx, &avatarRow{
		UserID: keyOf(rec.UserID), Tag: rec.Tag, ContentType: rec.ContentType, Body: blob(rec.Body), UpdatedAt: at(rec.UpdatedAt),
	}, "user_id", "tag", "content_type", "body", "updated_at")
}

func (s avatars) Get(ctx context.Context, user id.User, tag string) (store.Avatar, error) {
	if err := plain(tag); err != nil {
		return store.Avatar{}, err
	}
	return one[avatarRow](ctx, s.unit, noAvatar, func(q *bun.SelectQuery) {
		q.Where("b.user_id = ?", user.String()).Where("b.tag = ?", tag)
	})
}

func (s avatars) Delete(ctx context.Context, user id.User) error {
	_, err := s.exec(ctx, "DELETE FROM avatars WHERE user_id = ?", user.String())
	return err
}

type preferencesRow struct {
	bun.BaseModel `bun:"table:preferences,alias:d"`

	UserID         key[id.UserKind] `bun:"user_id,pk"`
	Email          bool             `bun:"email"`
	Slack          bool             `bun:"slack"`
	SlackTarget    string           `bun:"slack_target"`
	Telegram       bool             `bun:"telegram"`
	TelegramChatID string           `bun:"telegram_chat_id"`
	UpdatedAt      moment           `bun:"updated_at"`
}

func (r preferencesRow) record() store.Preferences {
	return store.Preferences{
		UserID: r.UserID.ID, Email: r.Email, Slack: r.Slack, SlackTarget: r.SlackTarget,
		Telegram: r.Telegram, TelegramChatID: r.TelegramChatID, UpdatedAt: r.UpdatedAt.time(),
	}
}

type preferences struct{ *unit }

func noPreferences() error {
	return notFound("preferences", "The account has chosen no preferences.")
}

func (s preferences) Get(ctx context.Context, user id.User) (store.Preferences, error) {
	return one[preferencesRow](ctx, s.unit, noPreferences, func(q *bun.SelectQuery) { q.Where("d.user_id = ?", user.String()) })
}

func (s preferences) Put(ctx context.Context, rec store.Preferences) error {
	if err := s.living(ctx, rec.UserID); err != nil {
		return err
	}
	return s.replace(ctx, &preferencesRow{
		UserID: keyOf(rec.UserID), Email: rec.Email, Slack: rec.Slack, SlackTarget: rec.SlackTarget,
		Telegram: rec.Telegram, TelegramChatID: rec.TelegramChatID, UpdatedAt: at(rec.UpdatedAt),
	}, "user_id", "email", "slack", "slack_target", "telegram", "telegram_chat_id", "updated_at")
}
