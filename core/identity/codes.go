package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/store"
)

// What codes can do that were mailed to somebody to type in.
const (
	CodeLife    = 10 * time.Minute // good for
	CodeResend  = time.Minute      // until another one may be asked for
	codeTries   = 5                // wrong ones among them
	codeDigits  = 6
	codeVariety = 1_000_000
)

// What a code is for.
const (
	toRegister = "register"
	toReset    = "reset-password"
)

var codeRE = regexp.MustCompile(`^[0-9]{6}$`) //nolint:gochecknoglobals // a constant

// SendRegistrationCode mails a code with which an account can be made. Nobody
// looks whether there is one already: whoever can read the mail is told so when
// they come back with the code, and nobody else ever. It fails with
// fault.Exhausted within CodeResend of the last code for the address.
func (s *Service) SendRegistrationCode(ctx context.Context, email string, from Client) error {
	if err := s.checkOpen(ctx); err != nil {
		return err
	}
	address, err := checkAddress(email)
	if err != nil {
		return err
	}
	if err := s.checkPerson(ctx, from); err != nil {
		return err
	}
	return s.sendCode(ctx, toRegister, address, Letter{Template: "verification-code"})
}

// SendResetCode mails a code with which a password can be set to whoever has an
// account with the address. For an address without one the same is done, and
// the letter belongs to an account that there is not: it is passed by as the
// last step. The limits hold in both cases, see [Service.SendRegistrationCode].
func (s *Service) SendResetCode(ctx context.Context, email string) error {
	address, err := checkAddress(email)
	if err != nil {
		return err
	}
	l := Letter{Template: "password-reset", UserID: id.New[id.UserKind](s.deps.Now(), s.deps.Random())}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, address)
		if err == nil {
			l.UserID = u.ID
		}
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.sendCode(ctx, toReset, address, l)
}

func checkAddress(email string) (string, error) {
	address, ok := normalAddress(email)
	var c fault.Check
	c.That(ok, "body.email", addressRule)
	return address, c.Err()
}

// sendCode takes the place of an earlier code.
func (s *Service) sendCode(ctx context.Context, purpose, address string, l Letter) error {
	code, err := s.newCode()
	if err != nil {
		return err
	}
	hash, err := s.hashCode(ctx, purpose, address, code)
	if err != nil {
		return err
	}
	now := s.deps.Now()
	l.To, l.Key = address, "code/"+id.New[id.MessageKind](now, s.deps.Random()).String()
	l.Data = map[string]string{"code": code.Reveal(), "minutes": fmt.Sprint(int(CodeLife / time.Minute))}
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.takeTurn(ctx, tx, purpose, address); err != nil {
			return err
		}
		last, err := tx.Codes().Get(ctx, purpose, address)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		if wait := last.CreatedAt.Add(CodeResend).Sub(now); err == nil && wait > 0 {
			return sentJustNow(min(wait, CodeResend))
		}
		err = tx.Codes().Put(ctx, store.Code{Purpose: purpose, Address: address, Hash: hash, CreatedAt: now, ExpiresAt: now.Add(CodeLife)})
		if err != nil {
			return err
		}
		return s.deps.Mail.Send(ctx, tx, l)
	})
}

func sentJustNow(wait time.Duration) error {
	e := fault.Exhausted.New("rate_limited", "A code has been asked for this address just now. Wait before asking for the next.")
	e.RetryAfter = wait
	return e
}

// newCode draws from 64 bits: no code is likelier than another by more than one
// part in ten billion.
func (s *Service) newCode() (secret.Text, error) {
	raw, err := s.deps.Secret()
	if err != nil {
		return secret.Text{}, fmt.Errorf("make code: %w", err)
	}
	return secret.New(fmt.Sprintf("%0*d", codeDigits, binary.BigEndian.Uint64(raw[:8])%codeVariety)), nil
}

// hashCode needs the server's key: of six digits anybody could try all.
func (s *Service) hashCode(ctx context.Context, purpose, address string, code secret.Text) ([]byte, error) {
	key, err := s.deps.Seal.Derive(ctx, "verification-code", []byte(purpose+"\x00"+address))
	if err != nil {
		return nil, fmt.Errorf("hash code: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(code.Reveal()))
	return mac.Sum(nil), nil
}

// takeTurn keeps apart those who deal with the code of one address. The turns
// are few, and shared by addresses that fall together: they grow with nobody.
func (s *Service) takeTurn(ctx context.Context, tx store.Tx, purpose, address string) error {
	sum := sha256.Sum256([]byte(purpose + "\x00" + address))
	return turn.Take(ctx, tx, fmt.Sprintf("code/%d", sum[0]%64), s.deps.Now())
}

// tryCode counts a try and fails unless the code is the one that was mailed. The
// hash of a right one is for useCode.
func (s *Service) tryCode(ctx context.Context, purpose, address string, code secret.Text) (hash []byte, err error) {
	if hash, err = s.hashCode(ctx, purpose, address, code); err != nil {
		return nil, err
	}
	right := false
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		right = false
		c, err := tx.Codes().Try(ctx, purpose, address, codeTries, s.deps.Now())
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		right = err == nil && hmac.Equal(c.Hash, hash)
		return err // never for a wrong code: its try must be committed
	})
	if err == nil && !right {
		err = wrongCode()
	}
	return hash, err
}

// useCode ends a code that was right, in the transaction that does what it is
// good for. It fails when it was used or replaced meanwhile.
func (s *Service) useCode(ctx context.Context, tx store.Tx, purpose, address string, hash []byte) error {
	if err := s.takeTurn(ctx, tx, purpose, address); err != nil {
		return err
	}
	c, err := tx.Codes().Get(ctx, purpose, address)
	if errors.Is(err, fault.NotFound) || err == nil && !hmac.Equal(c.Hash, hash) {
		return wrongCode()
	}
	if err != nil {
		return err
	}
	return tx.Codes().Delete(ctx, purpose, address)
}

const codeField = "body.email_verification_code"

func wrongCode() error {
	return refusedAt(codeField, "must be the code of the last e-mail", fault.Invalid.New("verification_code_invalid",
		"The code is wrong, was used or replaced, or is older than %d minutes. After %d tries it is of no use: ask for another one.", int(CodeLife/time.Minute), codeTries))
}

// checkCode finds what cannot be a code, before it counts as a try.
func checkCode(c *fault.Check, code secret.Text) {
	c.That(codeRE.MatchString(code.Reveal()), codeField, "must be the %d digits that were mailed", codeDigits)
}

// PruneCodes removes codes that are of no use any more, at most limit of them.
func (s *Service) PruneCodes(ctx context.Context, limit int) (n int, err error) {
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.Codes().DeleteExpired(ctx, s.deps.Now(), limit)
		return err
	})
	return n, err
}
