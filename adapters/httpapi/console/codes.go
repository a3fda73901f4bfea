package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// RegistrationCodeRequest asks for a code by e-mail.
type RegistrationCodeRequest struct {
	Email        string `json:"email" example:"ada@example.com"`
	CaptchaToken string `json:"captcha_token,omitempty" doc:"Needed while a captcha is on." example:"P1_eyJ0eXAi"`
}

// ResetCodeRequest asks for a code by e-mail.
type ResetCodeRequest struct {
	Email string `json:"email" example:"ada@example.com"`
}

// CodeSent is the same for every address.
type CodeSent struct {
	ExpiresInSeconds   int `json:"expires_in_seconds" doc:"How long the code is good for." example:"600"`
	ResendAfterSeconds int `json:"resend_after_seconds" doc:"When another one may be asked for." example:"60"`
}

type codeSentOut struct{ Body CodeSent }

// Registration makes an account.
type Registration struct {
	Email                 string `json:"email" example:"ada@example.com"`
	Password              string `json:"password" format:"password" doc:"8 to 128 characters, 8 of them besides words that name this service or the account; not one of the most common passwords." example:"correct horse battery staple"`
	Name                  string `json:"name,omitempty" doc:"1 to 100 printable characters; without it, what stands before the @." example:"Ada"`
	EmailVerificationCode string `json:"email_verification_code" doc:"The six digits that were mailed." example:"123456"`
	CaptchaToken          string `json:"captcha_token,omitempty" doc:"Needed while a captcha is on." example:"P1_eyJ0eXAi"`
}

type registerIn struct {
	Visitor
	Body Registration
}

// PasswordReset sets a password that was forgotten.
type PasswordReset struct {
	Email                 string `json:"email" example:"ada@example.com"`
	EmailVerificationCode string `json:"email_verification_code" doc:"The six digits that were mailed." example:"123456"`
	NewPassword           string `json:"new_password" format:"password" doc:"8 to 128 characters, 8 of them besides words that name this service or the account; not one of the most common passwords." example:"correct horse battery staple"`
}

func (h console) registerCodes() {
	const everyAddress = "The answer is the same for every address, whether or not there is an account: what there is to say goes into the mail. " +
		"A code has six digits, is good for ten minutes, for five tries and one use; another one takes its place, and may be asked for after a minute."
	captcha := []string{"captcha_required", "captcha_failed", "captcha_unavailable"}
	operation.Open(h.api, huma.Operation{
		OperationID: "sendRegistrationCode", Method: http.MethodPost, Path: "/api/auth/register/send-code", Tags: []string{tagAuth}, DefaultStatus: http.StatusAccepted,
		Summary: "Have a code mailed, to register", Description: everyAddress, Middlewares: h.fromOwnSite(),
	}, strangersCodes(append(captcha, "registration_closed", "mail_not_configured")...), h.sendRegistrationCode)
	operation.Open(h.api, huma.Operation{
		OperationID: "register", Method: http.MethodPost, Path: "/api/auth/register", Tags: []string{tagAuth}, DefaultStatus: http.StatusCreated,
		Summary: "Make an account", Description: "Makes an account with the code that was mailed to its address, and begins a session.", Middlewares: h.fromOwnSite(),
	}, strangersCodes(append(captcha, "registration_closed", "verification_code_invalid", "email_taken")...), h.register)
	operation.Open(h.api, huma.Operation{
		OperationID: "sendResetCode", Method: http.MethodPost, Path: "/api/auth/reset-password/send-code", Tags: []string{tagAuth}, DefaultStatus: http.StatusAccepted,
		Summary: "Have a code mailed, to set a new password", Description: everyAddress + " An address without an account gets no mail.", Middlewares: h.fromOwnSite(),
	}, strangersCodes("mail_not_configured"), h.sendResetCode)
	operation.Open(h.api, huma.Operation{
		OperationID: "resetPassword", Method: http.MethodPost, Path: "/api/auth/reset-password", Tags: []string{tagAuth}, DefaultStatus: noContent,
		Summary: "Set a new password", Description: "Sets the password with the code that was mailed, and ends every session of the account.", Middlewares: h.fromOwnSite(),
	}, strangersCodes("verification_code_invalid", "stale_version"), h.resetPassword)
}

func (h console) sendRegistrationCode(ctx context.Context, in *struct {
	Body RegistrationCodeRequest
},
) (*codeSentOut, error) {
	return h.mailed(ctx, in.Body.Email, func() error {
		return h.Identity.SendRegistrationCode(ctx, in.Body.Email, identity.Client{IP: edge.Of(ctx).ClientIP(), Captcha: secret.New(in.Body.CaptchaToken)})
	})
}

func (h console) sendResetCode(ctx context.Context, in *struct{ Body ResetCodeRequest }) (*codeSentOut, error) {
	return h.mailed(ctx, in.Body.Email, func() error { return h.Identity.SendResetCode(ctx, in.Body.Email) })
}

// mailed limits how many codes one address gets. Only those that are mailed, or
// would be if there were an account, count.
func (h console) mailed(ctx context.Context, email string, send func() error) (*codeSentOut, error) {
	key := strings.ToLower(strings.TrimSpace(email))
	if err := h.MailLimit.Peek(ctx, key); err != nil {
		return nil, err
	}
	if err := send(); err != nil {
		return nil, err
	}
	_ = h.MailLimit.Take(ctx, key) // of several at once no more than one a minute gets here
	return &codeSentOut{CodeSent{
		ExpiresInSeconds: int(identity.CodeLife / time.Second), ResendAfterSeconds: int(identity.CodeResend / time.Second),
	}}, nil
}

func (h console) register(ctx context.Context, in *registerIn) (*signedIn, error) {
	b := in.Body
	u, token, err := h.Identity.Register(ctx, identity.Registration{
		Email: b.Email, Name: b.Name, Password: secret.New(b.Password), Code: secret.New(b.EmailVerificationCode),
	}, h.client(ctx, in.Visitor, b.CaptchaToken))
	if err != nil {
		return nil, err
	}
	return h.letIn(ctx, u, token)
}

func (h console) resetPassword(ctx context.Context, in *struct{ Body PasswordReset }) (*struct{}, error) {
	b := in.Body
	err := h.Identity.ResetWithCode(ctx, identity.Reset{
		Email: b.Email, Password: secret.New(b.NewPassword), Code: secret.New(b.EmailVerificationCode),
	})
	return nil, err
}
