package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// APIKey is an API key without its value.
type APIKey struct {
	ID            string          `json:"id" example:"key_06evjm9m80zy3f60rzw2n56twg"`
	Name          string          `json:"name" example:"ci"`
	DisplayPrefix string          `json:"display_prefix" doc:"The first characters of the value." example:"kbk_4f1c9a"`
	LastUsedAt    *operation.Time `json:"last_used_at" nullable:"true" doc:"Of its uses one a minute is put on record."`
	ExpiresAt     *operation.Time `json:"expires_at" nullable:"true" doc:"null: until it is deleted."`
	CreatedAt     operation.Time  `json:"created_at"`
}

// MintedAPIKey is a new API key with its value, which nobody will see again.
type MintedAPIKey struct {
	APIKey
	Value     string `json:"value" doc:"Shown this once." example:"kbk_4f1c9aQ0m3s7v1x5z9b2d6f0h4j8l2n6p0r4t8w2y6A"`
	KiteValue string `json:"kite_value" doc:"The same key as clients of Kite send it, without Bearer. Shown this once." example:"kite1-4f1c9aQ0m3s7v1x5z9b2d6f0h4j8l2n6p0r4t8w2y6A"`
}

// APIKeyList is one page of one's own API keys.
type APIKeyList struct {
	APIKeys    []APIKey `json:"api_keys" nullable:"false"`
	NextCursor *string  `json:"next_cursor" doc:"null on the last page." example:"a2V5XzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

// APIKeyAnswer holds a new API key.
type APIKeyAnswer struct {
	APIKey MintedAPIKey `json:"api_key"`
}

// APIKeyCreation asks for an API key.
type APIKeyCreation struct {
	Name          string `json:"name" doc:"1 to 100 printable characters." example:"ci"`
	ExpiresInDays *int64 `json:"expires_in_days,omitempty" minimum:"1" maximum:"3650" doc:"Left out: it can be used until it is deleted." example:"90"`
}

type apiKeyCreationIn struct {
	operation.IdempotencyKey
	Body APIKeyCreation
}

type apiKeyOut struct{ Body APIKeyAnswer }

type apiKeysOut struct{ Body APIKeyList }

type apiKeyRef struct {
	KeyID string `path:"keyID" doc:"The API key's id." example:"key_06evjm9m80zy3f60rzw2n56twg"`
}

func (h console) registerAPIKeys() {
	const inPerson = " Only somebody who has signed in may do this: an API key that was found must not make another one, which would outlive it."
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listAPIKeys", Method: http.MethodGet, Path: "/api/console/api-keys", Tags: []string{tagAccount},
		Summary: "List one's own API keys", Description: "Newest first, those that have run out among them.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed"}, h.listAPIKeys)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "createAPIKey", Method: http.MethodPost, Path: "/api/console/api-keys", Tags: []string{tagAccount}, DefaultStatus: http.StatusCreated,
		Summary: "Make an API key", Description: "Makes a key with which a program can do what the account may do, but for its keys and its end. An account has 100 at most." + inPerson,
	}, []string{"session_required", "too_many_api_keys"}, h.createAPIKey)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "deleteAPIKey", Method: http.MethodDelete, Path: "/api/console/api-keys/{keyID}", Tags: []string{tagAccount}, DefaultStatus: noContent,
		Summary: "Delete an API key", Description: "Ends one's own key at once. One that is not there is fine." + inPerson,
	}, []string{"session_required"}, h.deleteAPIKey)
}

func (h console) listAPIKeys(ctx context.Context, in *operation.Paged) (*apiKeysOut, error) {
	q, err := operation.Query[id.APIKeyKind](*in)
	if err != nil {
		return nil, err
	}
	page, err := h.Identity.APIKeys(ctx, q)
	return &apiKeysOut{APIKeyList{each(page.Items, showAPIKey), operation.Cursor(page.Next)}}, err
}

func (h console) createAPIKey(ctx context.Context, in *apiKeyCreationIn) (*apiKeyOut, error) {
	m, err := h.Identity.CreateAPIKey(ctx, in.Body.Name, in.Body.ExpiresInDays)
	return &apiKeyOut{APIKeyAnswer{MintedAPIKey{showAPIKey(m.Key), m.Value, session.KiteValue(m.Key.Number, m.Secret())}}}, err
}

func (h console) deleteAPIKey(ctx context.Context, in *apiKeyRef) (*struct{}, error) {
	i, err := id.Parse[id.APIKeyKind](in.KeyID)
	if err != nil {
		i = id.APIKey{} // what cannot be an id is nobody's
	}
	return nil, h.Identity.DeleteAPIKey(ctx, i)
}

func showAPIKey(k store.APIKey) APIKey {
	return APIKey{
		ID: k.ID.String(), Name: k.Name, DisplayPrefix: k.DisplayPrefix,
		LastUsedAt: operation.MaybeAt(k.LastUsedAt), ExpiresAt: operation.MaybeAt(k.ExpiresAt), CreatedAt: operation.At(k.CreatedAt),
	}
}
