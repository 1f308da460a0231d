//! Which account and region an ECR host name speaks of.
//!
//! **Invariant:** a name is ECR's only as a whole, so no token goes to a host that merely looks like it. Asks nobody.
//!
//! Sources: the endpoint names in "Amazon ECR endpoints and quotas" and the AWS partitions' DNS suffixes
//! (`partitions.json` of the SDKs). `public.ecr.aws` is deliberately not one: it has an API of its own.

/// The DNS suffixes of the partitions, for `ACCOUNT.dkr.ecr.REGION.SUFFIX`.
const SUFFIXES: [&str; 8] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
    // Names given out before the European partition settled on `amazonaws.eu`.
    "amazonwebservices.eu",
];

/// The same for dual-stack names, `ACCOUNT.dkr-ecr.REGION.SUFFIX`.
const DUAL_STACK_SUFFIXES: [&str; 3] = ["on.aws", "on.amazonwebservices.com.cn", "on.amazonwebservices.eu"];

/// One private registry of ECR.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EcrHost {
    /// Twelve digits.
    pub(super) account: String,
    /// `eu-west-1`.
    pub(super) region: String,
    /// Whether the endpoint must be a FIPS one.
    pub(super) fips: bool,
    /// Whether the endpoint must answer on IPv6 too.
    pub(super) dual_stack: bool,
}

impl EcrHost {
    /// Reads a host name, with or without a port; `None` when it is not ECR's.
    pub(super) fn parse(host: &str) -> Option<EcrHost> {
        let host = host.to_ascii_lowercase();
        let name = match host.split_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return None,
            None => &host,
        };
        let (account, rest) = name.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (dual_stack, rest) = match (rest.strip_prefix("dkr.ecr"), rest.strip_prefix("dkr-ecr")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return None,
        };
        let (fips, rest) = match rest.strip_prefix("-fips") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
        let suffixes: &[&str] = if dual_stack { &DUAL_STACK_SUFFIXES } else { &SUFFIXES };
        let plain = region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if region.is_empty() || region.starts_with('-') || !plain || !suffixes.contains(&suffix) {
            return None;
        }
        Some(EcrHost { account: account.to_owned(), region: region.to_owned(), fips, dual_stack })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(host: &str) -> Option<String> {
        EcrHost::parse(host).map(|host| host.region)
    }

    #[test]
    fn every_partition_is_known() {
        for (host, expected) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com:443", "us-gov-west-1"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
            ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
            ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1"),
            ("123456789012.dkr.ecr.us-isof-east-1.csp.hci.ic.gov", "us-isof-east-1"),
            ("123456789012.dkr-ecr.eu-central-1.on.aws", "eu-central-1"),
            ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
        ] {
            assert_eq!(region(host).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn fips_and_dual_stack_are_part_of_the_name() {
        let host = EcrHost::parse("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com").unwrap();
        assert_eq!((host.fips, host.dual_stack, host.account.as_str()), (true, false, "123456789012"));
        let host = EcrHost::parse("123456789012.DKR-ECR-fips.us-east-1.on.aws").unwrap();
        assert_eq!((host.fips, host.dual_stack), (true, true));
    }

    #[test]
    fn a_host_that_only_looks_like_ecr_gets_nothing() {
        for host in [
            "public.ecr.aws",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.org",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443/x",
            "123456789012.dkr.ecr.eu-west-1.evil.amazonaws.com",
            "123456789012.dkr.ecr.amazonaws.com",
            "123456789012.dkr.ecrx.eu-west-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "x123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.on.aws",
            "127.0.0.1:5000",
            "",
        ] {
            assert_eq!(EcrHost::parse(host), None, "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(host in "\\PC{0,80}") {
            let _ = EcrHost::parse(&host);
        }

        #[test]
        fn any_account_and_region_come_out_as_they_went_in(account in "[0-9]{12}", region in "[a-z]{2}-[a-z]{4,9}-[1-9]") {
            let host = EcrHost::parse(&format!("{account}.dkr.ecr.{region}.amazonaws.com")).unwrap();
            prop_assert_eq!((host.account, host.region), (account, region));
        }
    }
}
