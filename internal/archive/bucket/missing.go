package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/gcp"
)

var (
	errRegion  = errors.New("the region of the archive's bucket is missing: add ?region=eu-central-1 to its URL, or set AWS_REGION")
	errAWS     = errors.New("there are no credentials for the archive's bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role")
	errGoogle  = errors.New("there are no credentials for the archive's bucket: set GOOGLE_APPLICATION_CREDENTIALS to the file with the key of a service account, or run gcloud auth application-default login")
	errAccount = errors.New("the storage account of the archive's container is missing: add ?storage_account=NAME to its URL, or set AZURE_STORAGE_ACCOUNT")
	errAzure   = errors.New("there are no credentials for the archive's container: set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN, or run az login")
)

// before returns an error if a bucket's URL and the environment lack something without which no request succeeds. The clients of clouds
// notice that with the first request, and say what failed in them, but not what to do.
func before(ctx context.Context, location *url.URL) error {
	query := location.Query()
	switch location.Scheme {
	case "gs":
		if query.Get("anonymous") == "true" || query.Get("access_id") == "-" || set("STORAGE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST_GRPC") {
			return nil
		}
		if _, err := gcp.DefaultCredentials(ctx); err != nil {
			return fmt.Errorf("%w (%w)", errGoogle, err)
		}
	case "azblob":
		if query.Get("storage_account") == "" && !set("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING") {
			return errAccount
		}
	}
	return nil
}

// opened returns an error if a bucket of S3 has no region.
func opened(b *blob.Bucket) error {
	var client *s3.Client
	if b.As(&client) && client.Options().Region == "" {
		return errRegion
	}
	return nil
}

// explained returns what to do about an error of a bucket, if the reason is that it cannot be reached, or that there are no credentials. Otherwise, it returns the error.
func (b bucket) explained(ctx context.Context, err error) error {
	if network, is := errors.AsType[*net.OpError](err); is {
		return fmt.Errorf("the archive's bucket %s cannot be reached: %w", b.host, network)
	}
	var client *s3.Client
	if b.As(&client) {
		if from := client.Options().Credentials; from != nil {
			if _, none := from.Retrieve(ctx); none != nil && ctx.Err() == nil {
				return fmt.Errorf("%w (%w)", errAWS, none)
			}
		}
		return err
	}
	// Azure's client marks errors that another try does not change. Only those of its credentials are.
	var useless interface{ NonRetriable() }
	if b.scheme == "azblob" && errors.As(err, &useless) {
		return errAzure
	}
	return err
}

// set reports whether one of these environment variables is set.
func set(variables ...string) bool {
	for _, name := range variables {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}
