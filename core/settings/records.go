package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// section is a part of Settings. Its JSON leaves the secrets out; they are
// written beside it, by name.
type section interface {
	secrets() map[string]*secret.Text
}

func (s *Settings) section(name Section) section {
	switch name {
	case InGeneral:
		return &s.General
	case InIngressDNS:
		return &s.IngressDNS
	case InOAuth:
		return &s.OAuth
	case InHCaptcha:
		return &s.HCaptcha
	case InStripe:
		return &s.Stripe
	case InSMTP:
		return &s.SMTP
	}
	return nil
}

func (*General) secrets() map[string]*secret.Text { return nil }

func (d *IngressDNS) secrets() map[string]*secret.Text {
	return map[string]*secret.Text{"cloudflare.api_token": &d.Cloudflare.APIToken}
}

// A provider's secret goes by the provider's name, wherever it is in the list.
func (o *OAuth) secrets() map[string]*secret.Text {
	out := make(map[string]*secret.Text, len(o.Providers))
	for i := range o.Providers {
		out[o.Providers[i].Name] = &o.Providers[i].ClientSecret
	}
	return out
}

func (h *HCaptcha) secrets() map[string]*secret.Text {
	return map[string]*secret.Text{"secret_key": &h.SecretKey}
}

func (s *Stripe) secrets() map[string]*secret.Text {
	return map[string]*secret.Text{"secret_key": &s.SecretKey, "webhook_secret": &s.WebhookSecret}
}

func (s *SMTP) secrets() map[string]*secret.Text {
	return map[string]*secret.Text{"password": &s.Password}
}

// texts are the secrets that are set.
func texts(of section) map[string]string {
	out := map[string]string{}
	for name, s := range of.secrets() {
		if !s.IsZero() {
			out[name] = s.Reveal()
		}
	}
	return out
}

// same reports whether two settings have the same in a section.
func same(a, b *Settings, in Section) (bool, error) {
	of, and := a.section(in), b.section(in)
	one, err := json.Marshal(of)
	if err != nil {
		return false, err
	}
	other, err := json.Marshal(and)
	return bytes.Equal(one, other) && maps.Equal(texts(of), texts(and)), err
}

func purpose(name Section) string { return "settings/" + string(name) }

// record returns a section as it is stored, as the next version of was.
func (s *Settings) record(ctx context.Context, sealer seal.Sealer, was store.Setting, name Section) (store.Setting, error) {
	part, next := s.section(name), was
	next.Name = string(name)
	var err error
	if next.Value, err = json.Marshal(part); err != nil {
		return next, fmt.Errorf("write settings %s: %w", name, err)
	}
	next.Sealed = nil
	set := texts(part)
	if len(set) == 0 {
		return next, nil
	}
	plain, err := json.Marshal(set)
	if err != nil {
		return next, fmt.Errorf("write the secrets of settings %s: %w", name, err)
	}
	if next.Sealed, err = sealer.Seal(ctx, purpose(name), plain); err != nil {
		return next, fmt.Errorf("seal settings %s: %w", name, err)
	}
	return next, nil
}

// snapshotOf reads the records of the store. Those of other versions of KubeBYON
// and of other packages are passed by. It fails only for what passes: what is
// wrong with a section makes that section unreadable.
func snapshotOf(ctx context.Context, sealer seal.Sealer, records []store.Setting) (Snapshot, error) {
	out := Snapshot{Settings: Defaults(), records: map[Section]store.Setting{}, unreadable: map[Section]error{}}
	for _, rec := range records {
		name := Section(rec.Name)
		if out.section(name) == nil {
			continue
		}
		out.records[name] = rec
		err := out.open(ctx, sealer, rec)
		if err != nil && (ctx.Err() != nil || errors.Is(err, fault.Unavailable)) {
			return Snapshot{}, fmt.Errorf("open settings %s: %w", name, err)
		}
		if err != nil {
			out.unreadable[name] = unreadable(name).Because(err)
		}
	}
	return out, nil
}

func unreadable(name Section) *fault.Error {
	return fault.Internal.New("settings_unreadable",
		"The section %s of the system settings cannot be read: it is damaged, or its secrets were sealed with a key that is not there. Set its secrets anew.", name)
}

// open reads a section. When its secrets do not open, the rest of it is there.
func (s *Settings) open(ctx context.Context, sealer seal.Sealer, rec store.Setting) error {
	read := Defaults()
	part := read.section(Section(rec.Name))
	if json.Unmarshal(rec.Value, part) != nil { // its error may quote
		return errors.New("the record is not the JSON that it should be")
	}
	s.take(Section(rec.Name), read)
	if len(rec.Sealed) == 0 {
		return nil
	}
	plain, err := sealer.Open(ctx, purpose(Section(rec.Name)), rec.Sealed)
	if err != nil {
		return err
	}
	var set map[string]string
	if json.Unmarshal(plain, &set) != nil {
		return errors.New("the sealed record is not the JSON that it should be")
	}
	for name, to := range s.section(Section(rec.Name)).secrets() {
		*to = secret.New(set[name])
	}
	return nil
}

// take copies a section.
func (s *Settings) take(name Section, from Settings) {
	switch name {
	case InGeneral:
		s.General = from.General
	case InIngressDNS:
		s.IngressDNS = from.IngressDNS
	case InOAuth:
		s.OAuth = from.OAuth
	case InHCaptcha:
		s.HCaptcha = from.HCaptcha
	case InStripe:
		s.Stripe = from.Stripe
	case InSMTP:
		s.SMTP = from.SMTP
	}
}
