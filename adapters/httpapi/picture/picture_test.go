package picture_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"sync"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/picture"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

func plain(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for x := range w {
		for y := range h {
			m.Set(x, y, color.NRGBA{R: 10, G: 200, B: 30, A: 255})
		}
	}
	return m
}

func asPNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asJPEG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asGIF(t testing.TB, frames ...image.Image) []byte {
	t.Helper()
	var all gif.GIF
	for _, m := range frames {
		p := image.NewPaletted(m.Bounds(), color.Palette{color.Black, color.NRGBA{R: 10, G: 200, B: 30, A: 255}})
		for i := range p.Pix {
			p.Pix[i] = 1
		}
		all.Image, all.Delay = append(all.Image, p), append(all.Delay, 1)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decoded(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const (
	lossyWebP    = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA="
	losslessWebP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
)

func TestEveryFormatBecomesASmallPNG(t *testing.T) {
	t.Parallel()
	s := picture.NewStudio()
	for name, c := range map[string]struct {
		file []byte
		size image.Point
	}{
		"PNG":                 {asPNG(t, plain(512, 256)), image.Pt(256, 128)},
		"PNG that fits":       {asPNG(t, plain(30, 200)), image.Pt(30, 200)},
		"PNG of 16 bits":      {asPNG(t, image.NewRGBA64(image.Rect(0, 0, 300, 300))), image.Pt(256, 256)},
		"PNG, a line":         {asPNG(t, plain(4096, 1)), image.Pt(256, 1)},
		"PNG, the largest":    {asPNG(t, image.NewGray(image.Rect(0, 0, 4096, 3051))), image.Pt(256, 190)},
		"JPEG":                {asJPEG(t, plain(1000, 2000)), image.Pt(128, 256)},
		"GIF":                 {asGIF(t, plain(512, 512), plain(512, 512)), image.Pt(256, 256)},
		"WebP":                {decoded(t, lossyWebP), image.Pt(1, 1)},
		"WebP without losses": {decoded(t, losslessWebP), image.Pt(1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := s.Portrait(t.Context(), c.file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := png.Decode(bytes.NewReader(out))
			if err != nil || m.Bounds().Size() != c.size {
				t.Errorf("%v, %v", m.Bounds(), err)
			}
		})
	}
}

// TestNothingButThePictureIsKept: where it was taken stays with the person.
func TestNothingButThePictureIsKept(t *testing.T) {
	t.Parallel()
	const secret = "taken at 52.5 north"
	file := asPNG(t, plain(20, 20))
	file = append(file[:33:33], append(chunk("tEXt", []byte("Comment\x00"+secret)), file[33:]...)...)
	file = append(file, secret...)
	out, err := picture.NewStudio().Portrait(t.Context(), file)
	if err != nil || bytes.Contains(out, []byte(secret)) || bytes.Contains(out, []byte("tEXt")) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func chunk(name string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(append(out, name...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// header is a PNG that says how large it is, and no more.
func header(w, h uint32) []byte {
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(size, 8, 6, 0, 0, 0))...)
}

func TestWhatIsNotDecoded(t *testing.T) {
	t.Parallel()
	s := picture.NewStudio()
	whole := asPNG(t, plain(50, 50))
	photo := asJPEG(t, plain(50, 50))
	huge := asGIF(t, plain(1, 1))
	binary.LittleEndian.PutUint16(huge[6:], 65535)
	binary.LittleEndian.PutUint16(huge[8:], 65535)
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"nothing":              {nil, "must be a PNG"},
		"text":                 {[]byte("hello"), "must be a PNG"},
		"SVG":                  {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "must be a PNG"},
		"BMP":                  {[]byte("BM\x3a\x00\x00\x00\x00\x00\x00\x00"), "must be a PNG"},
		"TIFF":                 {[]byte("II*\x00\x08\x00\x00\x00"), "must be a PNG"},
		"half a PNG":           {whole[:len(whole)/2], "whole"},
		"only a header":        {header(100, 100), "whole"},
		"no pixels":            {header(0, 10), "whole"},
		"too wide":             {header(4097, 10), "4096"},
		"too high":             {header(10, 4097), "4096"},
		"too many pixels":      {header(4096, 3052), "4096"},
		"a bomb":               {header(1<<31-1, 1<<31-1), ""},
		"a GIF that is a bomb": {huge, "4096"},
		"too many scans":       {append(bytes.Clone(photo), bytes.Repeat([]byte{0xff, 0xda}, 64)...), "whole"},
		"a JPEG's beginning":   {photo[:20], "whole"},
		"a WebP's beginning":   {decoded(t, lossyWebP)[:30], "whole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Portrait(t.Context(), c.file)
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Location != "body.file" || !strings.Contains(f.Fields[0].Message, c.says) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := s.Portrait(t.Context(), append(bytes.Clone(photo), bytes.Repeat([]byte{0xff, 0xda}, 63)...)); err != nil {
		t.Errorf("as many scans as may be: %v", err)
	}
}

// TestOnePictureAtATime: whoever has gone does not wait.
func TestOnePictureAtATime(t *testing.T) {
	t.Parallel()
	s := picture.NewStudio()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := s.Portrait(t.Context(), asPNG(t, plain(600, 600))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	leave := s.Occupy()
	if _, err := s.Portrait(gone, asPNG(t, plain(6, 6))); !errors.Is(err, context.Canceled) {
		t.Errorf("for somebody who has gone: %v", err)
	}
	leave()
	if _, err := s.Portrait(t.Context(), asPNG(t, plain(6, 6))); err != nil {
		t.Error(err)
	}
}

func FuzzPortrait(f *testing.F) {
	f.Add(asPNG(f, plain(9, 9)))
	f.Add(asJPEG(f, plain(9, 9)))
	f.Add(asGIF(f, plain(9, 9)))
	f.Add(decoded(f, lossyWebP))
	f.Add(decoded(f, losslessWebP))
	s := picture.NewStudio()
	f.Fuzz(func(t *testing.T, file []byte) {
		out, err := s.Portrait(t.Context(), file)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Error(err)
			}
			return
		}
		c, err := png.DecodeConfig(bytes.NewReader(out))
		if err != nil || c.Width > picture.Side || c.Height > picture.Side {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
