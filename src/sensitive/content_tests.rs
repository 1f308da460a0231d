//! Secrets as people have them, and what of each must not be shown: misses and false alarms.

use proptest::prelude::*;

use super::*;

/// The parts of a secret, as text.
fn of(content: &str) -> Vec<String> {
    parts(content.as_bytes()).parts.into_iter().map(|part| String::from_utf8(part).expect("it is text")).collect()
}

/// Checks that each of `secret` has a part in it that is hidden, and that none of `public` holds any part.
#[track_caller]
fn hides(content: &str, secret: &[&str], public: &[&str]) {
    let parts = of(content);
    for secret in secret {
        assert!(parts.iter().any(|part| secret.contains(part.as_str())), "{secret} of {parts:?}");
        let shown = parts.iter().fold((*secret).to_owned(), |text, part| text.replace(part, ""));
        assert!(shown.len() < SHORTEST, "{shown} of {secret} is shown: {parts:?}");
    }
    for public in public {
        let found = parts.iter().find(|part| public.contains(part.as_str()));
        assert_eq!(found, None, "{public}");
    }
}

const KEY_LINES: [&str; 2] = [
    "MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MbzYLdZ7ZvVy7F7V",
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz",
];

#[test]
fn npmrc() {
    let file = "# npm of the team\nregistry=https://registry.npmjs.org/\n@team:registry=https://npm.team.example/\n\
        //npm.team.example/:_authToken=npm_a1B2c3D4e5F6g7H8i9J0\n//old.example/:_password=Y29ycmVjdGhvcnNl\n\
        //old.example/:username=deploy-user\n//old.example/:_auth=ZGVwbG95OmJhdHRlcnlzdGFwbGU=\nalways-auth=true\n//ci/:_authToken=${NPM_TOKEN}\n";
    let public = [
        "registry=https://registry.npmjs.org/",
        "https://npm.team.example/",
        "deploy-user",
        "always-auth=true",
        "# npm of the team",
        "_authToken=",
        "${NPM_TOKEN}",
    ];
    hides(file, &["npm_a1B2c3D4e5F6g7H8i9J0", "Y29ycmVjdGhvcnNl", "correcthorse", "batterystaple"], &public);
}

#[test]
fn netrc() {
    let file = "machine github.com\n  login git\n  password correcthorse\nmachine api.example.com login robot-user password s3cr3t-0ne\n\
        default login anonymous password anonymous";
    let public = [
        "machine github.com",
        "login git",
        "robot-user",
        "machine api.example.com login robot-user",
        "password",
        "anonymous",
    ];
    hides(file, &["correcthorse", "s3cr3t-0ne"], &public);
    hides(
        "machine h.example login u password onelinesecret",
        &["onelinesecret"],
        &["machine h.example login u password "],
    );
}

#[test]
fn pip_conf_and_addresses() {
    let file = "[global]\nindex-url = https://robot:pa%40ss-word@pypi.team.example/simple\nextra-index-url = https://__token__:pypi-AgEIcHlwaS5vcmc@x.example/\n\
        trusted-host = pypi.team.example\ntimeout = 60\n";
    let public =
        ["[global]", "https://pypi.team.example/simple", "pypi.team.example", "timeout = 60", "__token__", "robot"];
    hides(file, &["pa%40ss-word", "pa@ss-word", "pypi-AgEIcHlwaS5vcmc"], &public);
    hides(
        "https://ghp_0123456789abcdef0123:x-oauth-basic@github.com/team/x",
        &["ghp_0123456789abcdef0123"],
        &["x-oauth-basic", "github.com/team/x"],
    );
    hides(
        "https://git:hunter2hunter@github.com\nhttps://u:p/q/r@host.example/x",
        &["hunter2hunter"],
        &["https://github.com"],
    );
    hides(
        "HOOK=https://hooks.example/services/T00000000/B00000000/a1B2c3D4e5F6g7H8i9J0k1L2",
        &["a1B2c3D4e5F6g7H8i9J0k1L2"],
        &["https://hooks.example/services/"],
    );
    hides(
        "URL=https://b.example/o?X-Amz-Signature=0a1b2c3d4e5f&part=number1",
        &["0a1b2c3d4e5f"],
        &["https://b.example/o", "number1"],
    );
}

#[test]
fn kubeconfig() {
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", KEY_LINES[0]);
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIC5zCCAc+gAwIBAgIBATANBgkqhkiG9w0BAQsFADAVMRMwEQYDVQQDEwpr\n-----END CERTIFICATE-----\n";
    let base64 = |text: &str| base64_encoded(text.as_bytes()).pop().expect("it is last");
    let file = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://kube.example:6443\n  name: kubernetes\n\
         current-context: admin@kubernetes\nusers:\n- name: kubernetes-admin\n  user:\n    client-key-data: {}\n    token: k8s-token-of-nobody\n",
        base64(certificate),
        base64(&pem)
    );
    let public = [
        "apiVersion: v1",
        "kind: Config",
        "clusters:",
        "https://kube.example:6443",
        "kubernetes",
        "admin@kubernetes",
        "kubernetes-admin",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----",
        &base64(certificate),
        certificate,
    ];
    hides(&file, &["k8s-token-of-nobody", &base64(&pem), KEY_LINES[0]], &public);
}

#[test]
fn settings_of_maven_and_nuget() {
    let file = "<settings>\n  <servers>\n    <server>\n      <id>nexus-releases</id>\n      <username>deployer</username>\n\
        <password>correct&amp;horse</password>\n    </server>\n  </servers>\n  <mirror><url>https://nexus.example/maven</url></mirror>\n\
        <add key=\"ClearTextPassword\" value=\"batterystaple\" />\n<add key=\"Username\" value=\"robot-user\" />\n</settings>\n";
    let public = [
        "<settings>",
        "<servers>",
        "nexus-releases",
        "deployer",
        "https://nexus.example/maven",
        "ClearTextPassword",
        "robot-user",
    ];
    hides(file, &["correct&amp;horse", "correct&horse", "batterystaple"], &public);
}

#[test]
fn docker_config_and_credentials_in_json() {
    let file = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "ZGVwbG95OmJhdHRlcnlzdGFwbGU=", "email": "me@example.com"},
        "r.example": {"username": "robot-user", "password": "correcthorse"}}, "credHelpers": {"gcr.io": "gcloud"}, "HttpHeaders": {"User-Agent": "Docker-Client/19.03.1"}}"#;
    let public = [
        "https://index.docker.io/v1/",
        "me@example.com",
        "robot-user",
        "r.example",
        "gcloud",
        "Docker-Client/19.03.1",
        "deploy",
    ];
    hides(file, &["ZGVwbG95OmJhdHRlcnlzdGFwbGU=", "batterystaple", "correcthorse"], &public);

    let key =
        format!("-----BEGIN PRIVATE KEY-----\\n{}\\n{}\\n-----END PRIVATE KEY-----\\n", KEY_LINES[0], KEY_LINES[1]);
    let file = format!(
        r#"{{"type": "service_account", "project_id": "team-project-1", "private_key_id": "0123456789abcdef0123456789abcdef01234567", "private_key": "{key}",
        "client_email": "robot@team-project-1.iam.gserviceaccount.com", "client_id": "123456789012345678901", "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token", "pin": 482915}}"#
    );
    let public = [
        "service_account",
        "team-project-1",
        "robot@team-project-1.iam.gserviceaccount.com",
        "123456789012345678901",
        "https://accounts.google.com/o/oauth2/auth",
        "https://oauth2.googleapis.com/token",
        "-----BEGIN PRIVATE KEY-----",
    ];
    hides(&file, &[KEY_LINES[0], KEY_LINES[1], "482915"], &public);
}

#[test]
fn variables() {
    let file = "# of staging\nexport NODE_ENV=production\nLOG_LEVEL=warning\nDB_HOST=db.internal.example.com\nDB_USER=postgres\nDB_PASSWORD=\"correct horse\"\n\
        ADMIN=Tr0ub4dor&3\nDATABASE_URL=postgres://app:battery%2Fstaple@db.internal.example.com:5432/app\nKEY_FILE=/etc/ssl/private/app.pem\nROOT_PASSWORD=root\n\
        PORT=8080\nNODE_VERSION=20.11.1\nREGION=eu-central-1\nSTARTED=2024-01-01T00:00:00Z\nIMAGE=node:20-alpine\nEMPTY=\nGREETING='hello world'\nexport TOKEN='single-quoted' # of me\n";
    let public = [
        "production",
        "NODE_ENV=production",
        "LOG_LEVEL=warning",
        "db.internal.example.com",
        "postgres",
        "root",
        "/etc/ssl/private/app.pem",
        "PORT=8080",
        "20.11.1",
        "eu-central-1",
        "2024-01-01T00:00:00Z",
        "node:20-alpine",
        "hello world",
        "# of me",
        "# of staging",
        "DB_PASSWORD=",
    ];
    hides(file, &["correct horse", "Tr0ub4dor&3", "battery%2Fstaple", "battery/staple", "single-quoted"], &public);
    hides(
        "[default]\naws_access_key_id = AKIAQWERTYUIOPASDF7H\naws_secret_access_key = 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\nregion = us-east-1",
        &["wJalrXUtnFEMI/K7MDENG/bPxRfiCYzQ9aXbLm3T"],
        &["us-east-1", "[default]", "aws_secret_access_key"],
    );
    hides(
        "db.example:5432:*:app:correcthorse\n# x\n*:*:*:*:batterystaple",
        &["correcthorse", "batterystaple"],
        &["db.example", "db.example:5432:*:app:"],
    );
    hides("pa%40ss-word-123", &["pa%40ss-word-123", "pa@ss-word-123"], &[]);
    hides("robot:correcthorse", &["correcthorse"], &["robot:"]);
    hides(
        "stages:\n  token: |\n    correcthorse\n    battery\n",
        &["correcthorse", "battery"],
        &["stages:", "token: |"],
    );
}

#[test]
fn keys_of_pem_by_their_lines() {
    let file = format!(
        "Bag Attributes\n-----BEGIN OPENSSH PRIVATE KEY-----\r\n{}\r\n{}\r\nAw==\r\n-----END OPENSSH PRIVATE KEY-----\r\n-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n",
        KEY_LINES[0], KEY_LINES[1]
    );
    let public = [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "-----END OPENSSH PRIVATE KEY-----",
        "Aw==",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
    ];
    hides(&file, &KEY_LINES, &public);
}

#[test]
fn bytes_as_they_are_and_in_base64() {
    let bytes: Vec<u8> = (0..64u8).map(|number| number.wrapping_mul(167).wrapping_add(0x80)).collect();
    let parts = parts(&bytes).parts;
    assert!(parts.contains(&bytes));
    assert!(base64_encoded(&bytes).iter().all(|encoded| parts.contains(encoded.as_bytes())));
}

#[test]
fn a_common_word_and_a_short_one_have_no_parts() {
    for content in ["", "\n", "abc", "postgres\n", "root", "true", "production", "password", "-----"] {
        assert_eq!(of(content), Vec::<String>::new(), "{content}");
    }
    assert_eq!(of("hunter2\r\n"), ["hunter2"]);
    assert_eq!(of("\u{feff}correct horse battery staple\n"), ["correct horse battery staple"]);
}

#[test]
fn a_large_secret_has_a_bounded_number_of_parts() {
    let lines: String = (0..50_000).map(|number| format!("TOKEN_{number}=a1B2c3D4e5F6g7H8{number}\n")).collect();
    let many = parts(lines.as_bytes());
    assert!(many.is_cut && many.parts.len() == MOST);
    assert!(many.parts.iter().all(|part| part.len() <= LONGEST));
    let bytes = parts(&vec![0xff; 1 << 20]);
    assert!(bytes.parts.len() <= MOST, "{}", bytes.parts.len());
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parts(&bytes);
    }

    #[test]
    fn no_text_is_too_odd(text in "[ -~\n\"'<>=:{}\\[\\]\\\\%@/#]{0,200}") {
        let found = parts(text.as_bytes());
        prop_assert!(found.parts.iter().all(|part| part.len() >= SHORTEST));
    }

    #[test]
    fn the_password_of_a_variable_is_a_part(password in "[!-~&&[^\"'#;,$<{\\[:/\\\\=]]{8,40}") {
        prop_assume!(!is_common(&password) && !is_path(&password) && !password.contains("//"));
        let found = parts(format!("A=1\nDB_PASSWORD={password}\n").as_bytes());
        prop_assert!(found.parts.contains(password.as_bytes()));
    }
}
