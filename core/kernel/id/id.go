// Package id makes identifiers that say what they identify and sort by age:
// "cl_06f2q…" is a cluster, and is older than every cluster id after it.
//
// The text is the kind's prefix, an underscore, and 26 characters of
// lower-case Crockford base 32: 48 bits of Unix milliseconds, then 80 random
// bits. Text order is time order, to the millisecond.
package id

import (
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Kind is implemented by the empty types that tell one ID from another.
type Kind interface{ prefix() string }

// Each kind names what its identifiers identify.
type (
	UserKind      struct{}
	SessionKind   struct{}
	APIKeyKind    struct{}
	ClusterKind   struct{}
	OperationKind struct{}
	JobKind       struct{}
	TokenKind     struct{}
	NodeKind      struct{}
	NodeEventKind struct{}
	AuditKind     struct{}
	MessageKind   struct{}
	SignInKind    struct{}
	DeliveryKind  struct{}
)

func (UserKind) prefix() string      { return "usr" }
func (SessionKind) prefix() string   { return "ses" }
func (APIKeyKind) prefix() string    { return "key" }
func (ClusterKind) prefix() string   { return "cl" }
func (OperationKind) prefix() string { return "op" }
func (JobKind) prefix() string       { return "job" }
func (TokenKind) prefix() string     { return "tok" }
func (NodeKind) prefix() string      { return "node" }
func (NodeEventKind) prefix() string { return "nevt" }
func (AuditKind) prefix() string     { return "aud" }
func (MessageKind) prefix() string   { return "msg" }
func (SignInKind) prefix() string    { return "lgn" }
func (DeliveryKind) prefix() string  { return "ntf" }

// A Cluster and a Token do not compile together.
type (
	User      = ID[UserKind]
	Session   = ID[SessionKind]
	APIKey    = ID[APIKeyKind]
	Cluster   = ID[ClusterKind]
	Operation = ID[OperationKind]
	Job       = ID[JobKind]
	Token     = ID[TokenKind]
	Node      = ID[NodeKind]
	NodeEvent = ID[NodeEventKind]
	Audit     = ID[AuditKind]
	Message   = ID[MessageKind]
	SignIn    = ID[SignInKind]
	Delivery  = ID[DeliveryKind]
)

// ID is comparable and sorts by age. The zero ID identifies nothing.
type ID[K Kind] struct{ text string }

// Random is where identifiers take their 80 random bits from.
type Random func() [10]byte

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// New makes an ID from a millisecond clock reading and ten random bytes.
func New[K Kind](now time.Time, random [10]byte) ID[K] {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	copy(b[6:], random[:])
	var k K
	return ID[K]{k.prefix() + "_" + encoding.EncodeToString(b[:])}
}

// Parse accepts only text that New could have written for this kind: one
// identifier has one spelling. Its error does not repeat the text.
func Parse[K Kind](text string) (ID[K], error) {
	var k K
	body, ok := strings.CutPrefix(text, k.prefix()+"_")
	raw, err := encoding.DecodeString(body)
	if !ok || err != nil || len(raw) != 16 || encoding.EncodeToString(raw) != body {
		return ID[K]{}, fault.Invalid.New(fault.ValidationFailed, "That is not a %s_… identifier.", k.prefix())
	}
	return ID[K]{text}, nil
}

func (i ID[K]) String() string { return i.text }

// IsZero reports whether i identifies nothing.
func (i ID[K]) IsZero() bool { return i.text == "" }

// MarshalText writes the zero ID as empty text.
func (i ID[K]) MarshalText() ([]byte, error) { return []byte(i.text), nil }

// UnmarshalText reads what MarshalText wrote.
func (i *ID[K]) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*i = ID[K]{}
		return nil
	}
	*i, err = Parse[K](string(b))
	return err
}
