package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"time"
)

// Name is the issuer of all tokens, and the id of the only key.
const Name = "outrigger-testmesh"

// Audience is what a sidecar's token is for.
const Audience = "istio-ca"

// ErrToken is returned for a token that is malformed, forged or expired.
var ErrToken = errors.New("invalid token")

// Issuer mints tokens like those of Kubernetes service accounts.
type Issuer struct{ key *rsa.PrivateKey }

// NewIssuer makes a signing key. It is RSA since istiod's JWT rule takes RS256 only.
func NewIssuer() (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &Issuer{key: key}, nil
}

// Claims of a token; Extra may overrule any of them.
type Claims struct {
	Subject  string
	Audience string
	TTL      time.Duration
	Extra    map[string]any
}

// ServiceAccount returns the claims of a projected service-account token.
func ServiceAccount(namespace, name string) Claims {
	return Claims{Subject: "system:serviceaccount:" + namespace + ":" + name, Audience: Audience, TTL: 12 * time.Hour}
}

// Token mints a token.
func (i *Issuer) Token(c Claims) (string, error) {
	now := time.Now()
	claims := map[string]any{
		"iss": Name, "sub": c.Subject, "aud": []string{c.Audience},
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(c.TTL).Unix(),
	}
	maps.Copy(claims, c.Extra)
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	head := `{"alg":"RS256","kid":"` + Name + `","typ":"JWT"}`
	text := encode([]byte(head)) + "." + encode(body)
	hash := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, hash[:])
	if err != nil {
		return "", err
	}
	return text + "." + encode(sig), nil
}

// Verify checks signature and expiry and returns the claims.
func (i *Issuer) Verify(token string) (map[string]any, error) {
	text, sigText, ok := cutLast(token, ".")
	_, bodyText, ok2 := strings.Cut(text, ".")
	if !ok || !ok2 {
		return nil, ErrToken
	}
	sig, err := base64.RawURLEncoding.DecodeString(sigText)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	hash := sha256.Sum256([]byte(text))
	if err := rsa.VerifyPKCS1v15(&i.key.PublicKey, crypto.SHA256, hash[:], sig); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	body, err := base64.RawURLEncoding.DecodeString(bodyText)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(body, &claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if exp, ok := claims["exp"].(float64); !ok || time.Now().Unix() > int64(exp) {
		return nil, fmt.Errorf("%w: expired", ErrToken)
	}
	return claims, nil
}

// JWKS returns the public key as a JSON Web Key Set.
func (i *Issuer) JWKS() []byte {
	e := big.NewInt(int64(i.key.E)).Bytes()
	return fmt.Appendf(nil, `{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":%q,"n":%q,"e":%q}]}`,
		Name, encode(i.key.N.Bytes()), encode(e))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
