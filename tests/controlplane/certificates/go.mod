module modelpool.dev/controlplane/certificates

go 1.24.0
