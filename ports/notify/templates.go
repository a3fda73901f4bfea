package notify

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Template is what a message says, before it is put into words: one of the
// types below. All of them are JSON objects, so that they can wait in a queue;
// those with a code in them are secrets.
type Template interface{ template() string }

// Composer puts templates into words.
type Composer interface {
	// Compose returns subject, plain text and HTML. Whatever people have written
	// into the template's fields stands in them as text: it makes no line and no
	// element of its own. It fails with fault.Invalid when a field that must
	// be there is empty.
	Compose(t Template) (Words, error)
}

// Words are what Message says.
type Words struct{ Subject, Text, HTML string }

// Welcome greets somebody who has registered.
type Welcome struct {
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"` // of the console
}

// ClusterAlert tells that a cluster needs a look, or no longer does.
type ClusterAlert struct {
	Cluster string    `json:"cluster"`
	Status  string    `json:"status"` // what it is now: "error", "unreachable", "ready"
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
	URL     string    `json:"url,omitempty"` // of the cluster in the console
}

// OrderPaid is a receipt.
type OrderPaid struct {
	Name   string    `json:"name,omitempty"`
	Order  string    `json:"order"`
	Plan   string    `json:"plan"`
	Amount string    `json:"amount"` // with its currency: "12.00 EUR"
	At     time.Time `json:"at"`
	URL    string    `json:"url,omitempty"` // of the order in the console
}

// VerificationCode proves to somebody's mailbox that it is theirs. It holds
// nothing that a stranger could have written, because a stranger can have it
// sent to anybody.
type VerificationCode struct {
	Code    string `json:"code"`
	Minutes int    `json:"minutes"` // how long it is good for
}

// PasswordReset carries the code with which a new password can be set. As for
// VerificationCode, a stranger can have it sent.
type PasswordReset struct {
	Code    string `json:"code"`
	Minutes int    `json:"minutes"`
	URL     string `json:"url,omitempty"` // where the code is asked for
}

func (Welcome) template() string          { return "welcome" }
func (ClusterAlert) template() string     { return "cluster-alert" }
func (OrderPaid) template() string        { return "order-paid" }
func (VerificationCode) template() string { return "verification-code" }
func (PasswordReset) template() string    { return "password-reset" }

// NameOf returns the name of a template.
func NameOf(t Template) string { return t.template() }

// Samples are a template of each kind, to try a channel with.
func Samples() []Template {
	at := time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)
	const console = "https://console.example.com"
	return []Template{
		Welcome{Name: "Ada Lovelace", URL: console},
		ClusterAlert{Cluster: "production", Status: "unreachable", Reason: "The control plane has not answered for five minutes.", At: at, URL: console + "/clusters"},
		OrderPaid{Name: "Ada Lovelace", Order: "ord_sample", Plan: "Team", Amount: "12.00 EUR", At: at, URL: console + "/orders"},
		VerificationCode{Code: "123456", Minutes: 10},
		PasswordReset{Code: "123456", Minutes: 10, URL: console + "/reset-password"},
	}
}

// Sample returns the sample of a name, and fails with fault.Invalid for a name
// that there is not.
func Sample(name string) (Template, error) {
	i := slices.IndexFunc(Samples(), func(t Template) bool { return t.template() == name })
	if i < 0 {
		return nil, unknown()
	}
	return Samples()[i], nil
}

// Decode reads the JSON of a template of a name. It fails with fault.Unavailable
// for a name that there is not: a server of a newer version knows it.
func Decode(name string, data []byte) (Template, error) {
	switch name {
	case "welcome":
		return decode[Welcome](data)
	case "cluster-alert":
		return decode[ClusterAlert](data)
	case "order-paid":
		return decode[OrderPaid](data)
	case "verification-code":
		return decode[VerificationCode](data)
	case "password-reset":
		return decode[PasswordReset](data)
	}
	return nil, fault.Unavailable.New("template_unknown", "This server does not know the message's template: a newer one has written it.")
}

func decode[T Template](data []byte) (Template, error) {
	var t T
	if err := json.Unmarshal(data, &t); err != nil {
		// The decoder's words may quote a code.
		return nil, fault.Invalid.New("template_malformed", "What the message was to say cannot be read.")
	}
	return t, nil
}

func unknown() error {
	return fault.Invalid.New("template_unknown", "There is no template of that name.")
}
