package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// subject is a kind of record, with what every kind has to bear.
type subject[R any] struct {
	name   string
	sample func(w *world) R // complete, and storable at once
	// insert stores a record that is not there; where the record belongs to
	// nobody yet, get finds it again, or returns fault.NotFound.
	insert func(ctx context.Context, tx store.Tx, rec R) error
	get    func(ctx context.Context, tx store.Tx, rec R) (R, error)
	// update replaces a record; nil where there is no such call.
	update func(ctx context.Context, tx store.Tx, rec R) error
	// sets names fields that the store itself sets; keeps, those that update
	// leaves as they are.
	sets, keeps []string
	// repeatable records may be appended twice.
	repeatable bool
}

func records() checks {
	all := checks{}
	add(all, userSubject())
	add(all, sessionSubject())
	add(all, apiKeySubject())
	add(all, codeSubject())
	add(all, identitySubject())
	add(all, signInSubject())
	add(all, avatarSubject())
	add(all, preferencesSubject())
	add(all, settingSubject())
	add(all, deliverySubject())
	add(all, clusterSubject())
	add(all, fleetSubject())
	add(all, operationSubject())
	add(all, jobSubject())
	add(all, tokenSubject())
	add(all, nodeSubject())
	add(all, nodeEventSubject())
	add(all, auditSubject())
	add(all, outboxSubject())
	add(all, replySubject())
	return all
}

func add[R any](all checks, s subject[R]) {
	all[s.name+"UnicodeAndMillisRoundTrip"] = s.comesBackAsItWas
	all[s.name+"EmptyFieldsRoundTrip"] = s.emptyComesBackEmpty
	all[s.name+"TimesAreUTCMillis"] = s.timesAreUTCMillis
	all[s.name+"NulIsRefused"] = func(w *world) { s.textIsRefused(w, "a\x00b") }
	all[s.name+"BrokenUTF8IsRefused"] = func(w *world) { s.textIsRefused(w, "a\xffb") }
	all[s.name+"SharesNoMemory"] = s.sharesNoMemory
	all[s.name+"RollbackLeavesNothing"] = s.rollbackLeavesNothing
	if !s.repeatable {
		all[s.name+"ExistsOnce"] = s.existsOnce
	}
	if s.update != nil {
		all[s.name+"UpdateReplacesEverything"] = s.updateReplacesEverything
	}
}

func (s subject[R]) put(w *world, rec R) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return s.insert(ctx, tx, rec) })
}

func (s subject[R]) read(w *world, rec R) R {
	w.Helper()
	got, err := s.find(w, rec)
	w.must(err)
	return got
}

func (s subject[R]) find(w *world, rec R) (got R, err error) {
	err = w.try(func(ctx context.Context, tx store.Tx) error {
		got, err = s.get(ctx, tx, rec)
		return err
	})
	return got, err
}

// expected is want with what the store decides taken from got.
func (s subject[R]) expected(got, want R) R {
	for _, name := range s.sets {
		reflect.ValueOf(&want).Elem().FieldByName(name).Set(reflect.ValueOf(got).FieldByName(name))
	}
	return want
}

func (s subject[R]) comesBackAsItWas(w *world) {
	rec := s.sample(w)
	w.must(s.put(w, rec))
	got := s.read(w, rec)
	same(w, got, s.expected(got, rec))
}

// emptyComesBackEmpty clears what may be empty: all but identifiers, and text
// and hashes that have to be unique.
func (s subject[R]) emptyComesBackEmpty(w *world) {
	rec := s.sample(w)
	v := reflect.ValueOf(&rec).Elem()
	for field, f := range v.Fields() {
		switch f.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Bool, reflect.Int, reflect.Int64:
			if field.Name != "ValueHash" && field.Name != "TokenHash" {
				f.SetZero()
			}
		}
	}
	w.must(s.put(w, rec))
	got := s.read(w, rec)
	same(w, got, s.expected(got, rec))
}

func (s subject[R]) timesAreUTCMillis(w *world) {
	rec := s.sample(w)
	given := rec
	eachTime(reflect.ValueOf(&given).Elem(), func(t time.Time) time.Time {
		return t.Add(999_999 * time.Nanosecond).In(time.FixedZone("elsewhere", -7*3600))
	})
	w.must(s.put(w, given))
	got := s.read(w, rec)
	same(w, got, s.expected(got, rec))
}

func eachTime(v reflect.Value, change func(time.Time) time.Time) {
	for _, f := range v.Fields() {
		switch t := f.Interface().(type) {
		case time.Time:
			f.Set(reflect.ValueOf(change(t)))
		case *time.Time:
			if t != nil {
				f.Set(reflect.ValueOf(new(change(*t))))
			}
		}
	}
}

// textIsRefused puts bad text into one field after the other.
func (s subject[R]) textIsRefused(w *world, bad string) {
	good := s.sample(w)
	for name, spoiled := range spoil(good, bad) {
		err := s.put(w, spoiled)
		if !errors.Is(err, fault.Invalid) {
			w.Errorf("insert with bad text in %s: got %v, want %s", name, err, fault.Invalid)
		}
	}
	if _, err := s.find(w, good); !errors.Is(err, fault.NotFound) {
		w.Errorf("after refusals: got %v, want nothing stored", err)
	}
	if s.update == nil {
		return
	}
	w.must(s.put(w, good))
	good = s.read(w, good)
	for name, spoiled := range spoil(good, bad) {
		err := w.try(func(ctx context.Context, tx store.Tx) error { return s.update(ctx, tx, spoiled) })
		if !errors.Is(err, fault.Invalid) {
			w.Errorf("update with bad text in %s: got %v, want %s", name, err, fault.Invalid)
		}
	}
	same(w, s.read(w, good), good)
}

// spoil returns copies of rec, each with bad text in the field it is named for.
func spoil[R any](rec R, bad string) map[string]R {
	out := map[string]R{}
	typ := reflect.TypeFor[R]()
	for _, f := range reflect.VisibleFields(typ) {
		spoiled := rec
		v := reflect.ValueOf(&spoiled).Elem().FieldByIndex(f.Index)
		switch {
		case !v.CanSet():
			continue
		case v.Kind() == reflect.String:
			v.SetString(bad)
		case v.Type() == reflect.TypeFor[[]string]():
			v.Set(reflect.ValueOf([]string{"fine", bad}))
		case v.Kind() == reflect.Map:
			v.Set(reflect.ValueOf(map[string]string{bad: "fine"}))
			other := rec
			reflect.ValueOf(&other).Elem().FieldByIndex(f.Index).Set(reflect.ValueOf(map[string]string{"fine": bad}))
			out[f.Name+" value"] = other
		default:
			continue
		}
		out[f.Name] = spoiled
	}
	return out
}

// sharesNoMemory writes to what was handed in and to what came out.
func (s subject[R]) sharesNoMemory(w *world) {
	rec := s.sample(w)
	given := deepCopy(rec)
	w.must(s.put(w, given))
	scribble(&given)
	got := s.read(w, rec)
	same(w, got, s.expected(got, rec))
	scribble(&got)
	got = s.read(w, rec)
	same(w, got, s.expected(got, rec))
}

func deepCopy[R any](rec R) R {
	v := reflect.ValueOf(&rec).Elem()
	for _, f := range v.Fields() {
		if !f.CanSet() || f.IsZero() {
			continue
		}
		switch f.Kind() {
		case reflect.Pointer:
			p := reflect.New(f.Type().Elem())
			p.Elem().Set(f.Elem())
			f.Set(p)
		case reflect.Slice:
			f.Set(reflect.AppendSlice(reflect.MakeSlice(f.Type(), 0, f.Len()), f))
		case reflect.Map:
			m := reflect.MakeMap(f.Type())
			for k, e := range f.Seq2() {
				m.SetMapIndex(k, e)
			}
			f.Set(m)
		}
	}
	return rec
}

// scribble overwrites what a record points to.
func scribble(rec any) {
	v := reflect.ValueOf(rec).Elem()
	for _, f := range v.Fields() {
		if !f.CanSet() || f.IsZero() {
			continue
		}
		switch f.Kind() {
		case reflect.Pointer:
			f.Elem().SetZero()
		case reflect.Slice:
			f.Index(0).SetZero()
		case reflect.Map:
			f.SetMapIndex(reflect.ValueOf("scribbled"), reflect.ValueOf("over"))
		}
	}
}

func (s subject[R]) rollbackLeavesNothing(w *world) {
	rec, boom := s.sample(w), errors.New("boom")
	err := w.try(func(ctx context.Context, tx store.Tx) error {
		w.must(s.insert(ctx, tx, rec))
		if _, err := s.get(ctx, tx, rec); err != nil {
			w.Errorf("a transaction does not read its own write: %v", err)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		w.Errorf("InTx returned %v, want what do returned", err)
	}
	if _, err := s.find(w, rec); !errors.Is(err, fault.NotFound) {
		w.Errorf("after a rollback: got %v, want nothing stored", err)
	}
	w.must(s.put(w, rec)) // nor is anything of it in the way
}

func (s subject[R]) existsOnce(w *world) {
	rec := s.sample(w)
	w.must(s.put(w, rec))
	if err := s.put(w, rec); !errors.Is(err, fault.Conflict) {
		w.Errorf("inserted again: got %v, want %s", err, fault.Conflict)
	}
	got := s.read(w, rec)
	same(w, got, s.expected(got, rec))
}

func (s subject[R]) updateReplacesEverything(w *world) {
	rec, next := s.sample(w), s.sample(w)
	w.must(s.put(w, rec))
	rec = s.read(w, rec)
	for _, name := range slices.Concat([]string{"ID", "ClusterID", "CreatedAt"}, s.sets, s.keeps) {
		if f := reflect.ValueOf(&next).Elem().FieldByName(name); f.IsValid() {
			f.Set(reflect.ValueOf(rec).FieldByName(name))
		}
	}
	w.tx(func(ctx context.Context, tx store.Tx) error { return s.update(ctx, tx, next) })
	got := s.read(w, rec)
	same(w, got, s.expected(got, next))

	next = s.expected(got, rec) // and back, so that what was emptied by the update shows
	w.tx(func(ctx context.Context, tx store.Tx) error { return s.update(ctx, tx, next) })
	got = s.read(w, rec)
	same(w, got, s.expected(got, next))
}

// pick finds one record in a page.
func pick[R any](p page.Of[R], err error, what string, wanted func(R) bool) (R, error) {
	var none R
	if err != nil {
		return none, err
	}
	for _, r := range p.Items {
		if wanted(r) {
			return r, nil
		}
	}
	return none, fault.NotFound.New(what+"_not_found", "It is not in the list.")
}

// pages reads a whole list, limit at a time.
func pages[R any](w *world, limit int, list func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[R], error)) (all []R) {
	w.Helper()
	for q := (page.Query{Limit: limit}); ; {
		var p page.Of[R]
		w.read(func(ctx context.Context, tx store.Tx) (err error) {
			p, err = list(ctx, tx, q)
			return err
		})
		if len(p.Items) > limit {
			w.Fatalf("a page has %d items; %d were asked for", len(p.Items), limit)
		}
		if p.Next != "" && len(p.Items) < limit {
			w.Fatalf("a page of %d has %d items and is not the last", limit, len(p.Items))
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all
		}
		q.Before = p.Next
	}
}

// listed checks that a list, in pages of two, is exactly want.
func listed[R any](w *world, what string, id func(R) string, want []string, list func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[R], error)) {
	w.Helper()
	for _, limit := range []int{2, page.MaxLimit} {
		var got []string
		for _, r := range pages(w, limit, list) {
			got = append(got, id(r))
		}
		if !reflect.DeepEqual(got, want) {
			w.Errorf("%s, %d at a time:\ngot  %v\nwant %v", what, limit, got, want)
		}
	}
}
