// What a control plane on loopback identifies itself with: certificates writes a CA, the API server's certificate, an
// administrator's, and the keys of service account tokens into the directory that it is given.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const lifetime = 48 * time.Hour

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: certificates <directory>")
	}
	directory := os.Args[1]
	authority := x509.Certificate{
		Subject:               pkix.Name{CommonName: "control plane for tests"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	authorityKey := write(directory, "ca", &authority, nil, nil)
	write(directory, "apiserver", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	}, &authority, authorityKey)
	write(directory, "admin", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, &authority, authorityKey)
	accounts := key()
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	must(err)
	save(filepath.Join(directory, "serviceaccounts.key"), "PRIVATE KEY", private(accounts))
	save(filepath.Join(directory, "serviceaccounts.pub"), "PUBLIC KEY", public)
}

// write makes a key and signs its certificate: with the issuer's key, or its own where there is no issuer.
func write(directory, name string, template, issuer *x509.Certificate, issuerKey crypto.Signer) crypto.Signer {
	own := key()
	if issuer == nil {
		issuer, issuerKey = template, own
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lifetime)
	if !template.IsCA {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, issuer, own.Public(), issuerKey)
	must(err)
	save(filepath.Join(directory, name+".crt"), "CERTIFICATE", certificate)
	save(filepath.Join(directory, name+".key"), "PRIVATE KEY", private(own))
	return own
}

func key() crypto.Signer {
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return made
}

func private(signer crypto.Signer) []byte {
	encoded, err := x509.MarshalPKCS8PrivateKey(signer)
	must(err)
	return encoded
}

func save(path, kind string, content []byte) {
	must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
