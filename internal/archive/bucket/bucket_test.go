package bucket_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/bucket"
)

// alone removes everything from the environment that the clients of clouds read.
func alone(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"HOME": t.TempDir(), "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
		"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
	} {
		t.Setenv(name, value)
	}
	for _, name := range []string{
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST",
		"STORAGE_EMULATOR_HOST_GRPC", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING",
		"AZURE_STORAGEBLOB_CONNECTIONSTRING", "AZURE_TENANT_ID", "AZURE_CLIENT_ID",
	} {
		t.Setenv(name, "")
	}
}

// TestMissing: an error says what is missing in the URL or the environment, instead of what failed in a cloud's client.
//
//nolint:paralleltest // The subtests share environment variables.
func TestMissing(t *testing.T) {
	alone(t)

	t.Run("Account", func(t *testing.T) {
		_, err := bucket.Open(t.Context(), "azblob://backups/app")
		require.EqualError(t, err, "the storage account of the archive's container is missing: add ?storage_account=NAME to its URL, or set AZURE_STORAGE_ACCOUNT")
	})

	t.Run("AzureCredentials", func(t *testing.T) {
		place, err := bucket.Open(t.Context(), "azblob://backups/app?storage_account=daymill")
		require.NoError(t, err)
		t.Cleanup(func() { _ = place.Close() })
		_, err = place.Names(t.Context(), "")
		require.EqualError(t, err, "list the archive's files: there are no credentials for the archive's container: "+
			"set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN, or run az login")
	})

	t.Run("Bucket", func(t *testing.T) {
		web := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
		t.Cleanup(web.Close)
		place, err := bucket.Open(t.Context(), "s3://backups/app?region=us-east-1&use_path_style=true&anonymous=true&endpoint="+web.URL)
		require.NoError(t, err)
		t.Cleanup(func() { _ = place.Close() })
		_, err = place.Names(t.Context(), "")
		require.EqualError(t, err, "the archive's bucket backups does not exist: create it, or correct the archive's URL")
	})

	t.Run("Credentials", func(t *testing.T) {
		place, err := bucket.Open(t.Context(), "s3://backups/app?region=us-east-1&use_path_style=true&endpoint=http://127.0.0.1:1")
		require.NoError(t, err)
		t.Cleanup(func() { _ = place.Close() })
		_, err = place.Names(t.Context(), "")
		require.ErrorContains(t, err, "there are no credentials for the archive's bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role")
		require.NotContains(t, err.Error(), "ListObjects")
	})

	t.Run("GoogleCredentials", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(os.TempDir(), "nonexistent"))
		_, err := bucket.Open(t.Context(), "gs://backups/app")
		require.ErrorContains(t, err, "there are no credentials for the archive's bucket: set GOOGLE_APPLICATION_CREDENTIALS to the file with the key of a service account")
	})

	t.Run("Region", func(t *testing.T) {
		_, err := bucket.Open(t.Context(), "s3://backups/app")
		require.EqualError(t, err, "the region of the archive's bucket is missing: add ?region=eu-central-1 to its URL, or set AWS_REGION")
	})
}
