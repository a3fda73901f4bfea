// Package picture makes portraits of what people upload: small, of one format,
// and without anything that was in the file besides the picture.
package picture

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// ContentType is what a portrait is.
const ContentType = "image/png"

// Limits of what is made into a portrait. The picture of a common telephone
// passes. The costliest of this size, a progressive JPEG, takes some 200 MB
// while it is looked at.
const (
	Side      = 256  // of a portrait, at most
	maxSide   = 4096 // pixels
	maxPixels = 12_500_000
	maxScans  = 64 // of a JPEG: each may cost as much as a picture, and takes a few bytes
	patience  = 10 * time.Second
)

// Studio makes one portrait at a time, so that however many are asked for, no
// more than one picture is in memory and one core at work.
type Studio struct{ seat chan struct{} }

// NewStudio returns an empty one.
func NewStudio() *Studio { return &Studio{make(chan struct{}, 1)} }

// Portrait scales a PNG, JPEG, GIF (its first frame) or WebP down to fit a square
// of [Side] pixels and returns it as a PNG. What the file is, its content tells.
// It fails with fault.Invalid, and with fault.Unavailable when others are before
// it for too long.
func (s *Studio) Portrait(ctx context.Context, file []byte) ([]byte, error) {
	f, err := formatOf(file)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fault.Unavailable.New("picture_busy", "Too many pictures are being looked at. Try again."))
	defer cancel()
	select {
	case s.seat <- struct{}{}:
		defer func() { <-s.seat }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	original, err := f.decode(bytes.NewReader(file))
	if err != nil {
		return nil, unreadable()
	}
	var out bytes.Buffer
	if err := png.Encode(&out, scaled(original)); err != nil {
		return nil, fmt.Errorf("encode portrait: %w", err)
	}
	return out.Bytes(), nil
}

type format struct {
	begins string // a question mark stands for any byte
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// These, and not what image.Decode knows: any package of the program may teach
// it more.
var formats = []format{ //nolint:gochecknoglobals // a constant table
	{"\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	{"\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode},
	{"GIF8?a", gif.DecodeConfig, gif.Decode},
	{"RIFF????WEBP", webp.DecodeConfig, webp.Decode},
}

// formatOf refuses what would be too large, by what the file says of itself;
// the decoders hold it to that.
func formatOf(file []byte) (format, error) {
	for _, f := range formats {
		if !f.fits(file) {
			continue
		}
		c, err := f.config(bytes.NewReader(file))
		switch {
		case err != nil || c.Width <= 0 || c.Height <= 0:
			return f, unreadable()
		case c.Width > maxSide || c.Height > maxSide || c.Width*c.Height > maxPixels:
			return f, problem.Invalid("body.file", "must be at most 4096 pixels wide and high, and have at most 12.5 million")
		case bytes.Count(file, []byte{0xff, 0xda}) > maxScans && f.begins[0] == 0xff:
			return f, unreadable()
		}
		return f, nil
	}
	return format{}, unknown()
}

func (f format) fits(file []byte) bool {
	if len(file) < len(f.begins) {
		return false
	}
	for i := range len(f.begins) {
		if f.begins[i] != '?' && f.begins[i] != file[i] {
			return false
		}
	}
	return true
}

func unknown() error {
	return problem.Invalid("body.file", "must be a PNG, JPEG, GIF or WebP picture")
}

func unreadable() error {
	return problem.Invalid("body.file", "must be a picture that is whole")
}

// scaled is m in a size that fits, or as it is where it fits already; either
// way without what m has besides pixels.
func scaled(m image.Image) image.Image {
	from := m.Bounds()
	w, h := from.Dx(), from.Dy()
	if longer := max(w, h); longer > Side {
		w, h = max(1, w*Side/longer), max(1, h*Side/longer)
	}
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(out, out.Bounds(), m, from, draw.Src, nil)
	return out
}
