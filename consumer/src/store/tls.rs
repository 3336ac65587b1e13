use std::path::Path;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;

use super::settings::SslMode;

/// A connector that verifies as much as the mode says.
pub(super) fn connector(mode: SslMode, root_certificate: &str) -> Result<MakeTlsConnector, String> {
    let plain = |error: openssl::error::ErrorStack| error.to_string();
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(plain)?;
    let has_root = !root_certificate.is_empty();
    if has_root {
        if !Path::new(root_certificate).is_file() {
            return Err(format!("cannot read {root_certificate}"));
        }
        builder.set_ca_file(root_certificate).map_err(|error| format!("{root_certificate}: {error}"))?;
    }
    let verified = match mode {
        SslMode::VerifyCa | SslMode::VerifyFull => true,
        // As libpq does.
        SslMode::Require => has_root,
        SslMode::Disable | SslMode::Prefer => false,
    };
    if !verified {
        builder.set_verify(SslVerifyMode::NONE);
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    if mode != SslMode::VerifyFull {
        connector.set_callback(|ssl, _| {
            ssl.set_verify_hostname(false);
            Ok(())
        });
    }
    Ok(connector)
}
