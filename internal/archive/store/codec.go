package store

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Kinds of compression.
const (
	Plain = "none"
	Zstd  = "zstd"
	Gzip  = "gzip"
)

// Codec writes and reads the files with the database's rows. The name of a file shows how it was written.
type Codec struct {
	Compression string   // Plain if empty
	Recipients  []string // age public keys to encrypt for; not encrypted if there are none

	recipients []age.Recipient
	identities []age.Identity
}

// NewCodec checks the compression and the keys.
func NewCodec(compression string, recipients []string) (c Codec, err error) {
	c = Codec{Compression: compression, Recipients: recipients}
	switch compression {
	case "", Plain, Zstd, Gzip:
	default:
		return c, fmt.Errorf("%q is not a compression: choose none, zstd or gzip", compression)
	}
	for _, text := range recipients {
		recipient, err := age.ParseX25519Recipient(text)
		if err != nil {
			return c, fmt.Errorf("%q is not an age public key, which begins with age1: age-keygen creates one", text)
		}
		c.recipients = append(c.recipients, recipient)
	}
	return c, nil
}

// Identify lets the codec read encrypted files, with the identities of a file from age-keygen. It does nothing if path is empty.
func (c *Codec) Identify(path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the identity that decrypts the archive: %w", err)
	}
	defer file.Close()
	if c.identities, err = age.ParseIdentities(file); err != nil {
		return fmt.Errorf("%s has no age identity: age-keygen creates one", path)
	}
	return nil
}

// Encrypted reports whether files are encrypted.
func (c *Codec) Encrypted() bool { return len(c.Recipients) > 0 }

// Suffix returns the suffix of the names of files.
func (c *Codec) Suffix() string {
	suffix := map[string]string{Zstd: ".zst", Gzip: ".gz"}[c.Compression]
	if c.Encrypted() {
		suffix += ".age"
	}
	return suffix
}

// Command returns the command of a shell that prints the text of a file, whose name has no suffix of the codec.
func (c *Codec) Command(name string) string {
	name += c.Suffix()
	if !c.Encrypted() {
		return cmp.Or(map[string]string{Zstd: "zstd -dc ", Gzip: "gzip -dc "}[c.Compression], "cat ") + name
	}
	return "age -d -i key.txt " + name + map[string]string{Zstd: " | zstd -dc", Gzip: " | gzip -dc"}[c.Compression]
}

// Writer compresses and encrypts what is written. Closing it does not close to.
func (c *Codec) Writer(to io.Writer) (io.WriteCloser, error) {
	all := &layers{to: to}
	if c.Encrypted() {
		encrypted, err := age.Encrypt(to, c.recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		all.push(encrypted)
	}
	switch c.Compression {
	case Zstd:
		compressed, err := zstd.NewWriter(all.to)
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		all.push(compressed)
	case Gzip:
		all.push(gzip.NewWriter(all.to))
	}
	return all, nil
}

type layers struct {
	to    io.Writer
	close []io.Closer // outermost first
}

func (l *layers) push(w io.WriteCloser) { l.to, l.close = w, append([]io.Closer{w}, l.close...) }

func (l *layers) Write(p []byte) (int, error) { return l.to.Write(p) }

func (l *layers) Close() (err error) {
	for _, layer := range l.close {
		err = errors.Join(err, layer.Close())
	}
	return err
}

// Text opens the decoded text of a file. The name of the file shows how to decode it.
func (c *Codec) Text(ctx context.Context, s *Store, name string) (io.ReadCloser, error) {
	file, err := s.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	text, err := c.text(name, file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{text, file}, nil
}

func (c *Codec) text(name string, file io.Reader) (io.Reader, error) {
	rest, encrypted := strings.CutSuffix(name, ".age")
	if encrypted {
		if len(c.identities) == 0 {
			return nil, errors.New("the archive is encrypted: name the file with the age identity that decrypts it, with --identity")
		}
		decrypted, err := age.Decrypt(file, c.identities...)
		if err != nil {
			return nil, fmt.Errorf("decrypt %s: %w", name, err)
		}
		file = decrypted
	}
	var err error
	switch {
	case strings.HasSuffix(rest, ".zst"):
		var reader *zstd.Decoder
		if reader, err = zstd.NewReader(file); err == nil {
			file = reader.IOReadCloser()
		}
	case strings.HasSuffix(rest, ".gz"):
		file, err = gzip.NewReader(file)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", name, err)
	}
	return file, nil
}

// PutText writes a file with the suffix of the codec.
func (c *Codec) PutText(ctx context.Context, s *Store, name string, write func(io.Writer) error) (File, error) {
	return s.Put(ctx, name+c.Suffix(), func(to io.Writer) error {
		text, err := c.Writer(to)
		if err != nil {
			return err
		}
		if err := write(text); err != nil {
			return err
		}
		return text.Close()
	})
}
