package hostplane

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Annotations on pods and namespaces.
const (
	behaveAnnotation = "localplane.kubebyon.io/behave"
	lightAnnotation  = "localplane.kubebyon.io/light"
)

type word string

const (
	wellBehaved    word = ""
	slow           word = "slow"
	crash          word = "crash"
	never          word = "never"
	imagePullError word = "image-pull-error"
	noLicence      word = "no-licence"
	noSecret       word = "no-secret"
	badSecret      word = "bad-secret"
)

// behaviour is how a tenant fails.
type behaviour struct {
	word  word
	delay time.Duration // of slow
	times int           // of crash; 0 is always
}

// parseBehaviour understands what the package comment lists.
func parseBehaviour(text string) (behaviour, error) {
	name, value, hasValue := strings.Cut(text, "=")
	b := behaviour{word: word(name)}
	var err error
	switch b.word {
	case slow:
		b.delay, err = time.ParseDuration(value)
	case crash:
		if hasValue {
			b.times, err = strconv.Atoi(value)
		}
	case wellBehaved, never, imagePullError, noLicence, noSecret, badSecret:
		if hasValue {
			return behaviour{}, refusal.New("The behaviour %q takes no value.", name)
		}
	default:
		return behaviour{}, refusal.New("The behaviour %q is not one of slow=DURATION, crash, crash=TIMES, never, image-pull-error, no-licence, no-secret and bad-secret.", text)
	}
	if err != nil || b.delay < 0 || b.times < 0 {
		return behaviour{}, refusal.New("The behaviour %q has a value that is not a duration, or not a number.", text)
	}
	return b, nil
}

// Rule makes the tenants whose release matches a pattern misbehave.
type Rule struct {
	pattern string
	behaviour
}

// ParseRule understands PATTERN=WORD, where the pattern is a shell's.
func ParseRule(text string) (Rule, error) {
	pattern, rest, ok := strings.Cut(text, "=")
	if _, err := path.Match(pattern, ""); !ok || err != nil || pattern == "" {
		return Rule{}, refusal.New("%q is not PATTERN=WORD, such as 'test-*=crash'.", text)
	}
	b, err := parseBehaviour(rest)
	return Rule{pattern: pattern, behaviour: b}, err
}

// behaves takes the annotations of the pod and of its namespace, and the rules, in this order.
func behaves(release string, pod, namespace map[string]string, rules []Rule) (behaviour, error) {
	for _, annotations := range []map[string]string{pod, namespace} {
		if text, ok := annotations[behaveAnnotation]; ok {
			return parseBehaviour(text)
		}
	}
	for _, rule := range rules {
		if matches, _ := path.Match(rule.pattern, release); matches {
			return rule.behaviour, nil
		}
	}
	return behaviour{}, nil
}
