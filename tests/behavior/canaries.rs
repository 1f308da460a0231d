//! Secrets as programs read them from files, a command for each that leaks one value of it, and what of them is public.

/// A private key's line, the bytes of a keystore, and files as programs read them. What steps leak of them is below.
const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfnygWyF8PbnGy0AHB7MbzYLdZ7ZvVy7F7V\nAw==\n-----END RSA PRIVATE KEY-----\n";
pub(crate) const FILES: [(&str, &str, &str); 19] = [
    // The id, the content, and the command that leaks one value of it.
    (
        "npmrc",
        "registry=https://npm.team.example/\n//npm.team.example/:_authToken=npm_sesame0123456789\nalways-auth=true\n",
        "sed -n 's/.*_authToken=//p' $S >/leak-npmrc",
    ),
    (
        "netrc",
        "machine git.example\n login robot-user\n password sesame-of-netrc\n",
        "awk '/password/ {print $2}' $S >/leak-netrc",
    ),
    (
        "pip",
        "[global]\nindex-url = https://robot:sesame%40of%2Fpip@pypi.team.example/simple\n",
        "sed -n 's/.*robot:\\(.*\\)@pypi.*/\\1/p' $S | sed 's/%40/@/; s,%2F,/,' >/leak-pip",
    ),
    (
        "kube",
        "apiVersion: v1\nusers:\n- name: ci-user\n  user:\n    token: sesame-of-kube\n",
        "sed -n 's/ *token: //p' $S >/leak-kube",
    ),
    (
        "docker",
        r#"{"auths": {"r.team.example": {"auth": "cm9ib3Q6c2VzYW1lLW9mLWRvY2tlcg=="}}}"#,
        "sed 's/.*auth\": \"//; s/\".*//' $S | base64 -d | cut -d: -f2 >/leak-docker",
    ),
    (
        "json",
        r#"{"type": "service_account", "project_id": "team-project", "client_secret": "sesame-of-json"}"#,
        "sed 's/.*client_secret\": \"//; s/\".*//' $S | gzip >/leak-json.gz",
    ),
    (
        "maven",
        "<servers>\n<username>deployer</username>\n<password>sesame-of-maven</password>\n</servers>\n",
        "sed -n 's/<.*>\\(.*\\)<.*password>/\\1/p' $S >/leak-maven",
    ),
    (
        "env",
        "NODE_ENV=production\nDB_USER=postgres\nDB_PASSWORD='sesame of env'\n",
        "sh -c '. '$S'; echo $DB_PASSWORD' | base64 >/leak-env",
    ),
    ("pem", KEY, "sed -n 2p $S >/leak-pem"),
    (
        "yarn",
        "npmScopes:\n  team:\n    npmAuthToken: \"sesame-of-yarn\"\n",
        "sed -n 's/.*Token: \"\\(.*\\)\"/\\1/p' $S >/leak-yarn",
    ),
    (
        "pypirc",
        "[pypi]\nusername = __token__\npassword = sesame-of-pypirc\n",
        "sed -n 's/password = //p' $S >/leak-pypirc",
    ),
    (
        "cargo",
        "[registries.team]\ntoken = \"sesame-of-cargo\"\n",
        "sed -n 's/token = \"\\(.*\\)\"/\\1/p' $S | gzip >/leak-cargo.gz",
    ),
    (
        "gh",
        "git.example:\n    user: robot\n    oauth_token: sesame-of-gh\n",
        "sed -n 's/.*oauth_token: //p' $S | base64 >/leak-gh",
    ),
    (
        "composer",
        r#"{"http-basic": {"repo.team.example": {"username": "robot", "password": "sesame-of-composer"}}}"#,
        "sed 's/.*password\": \"//; s/\".*//' $S >/leak-composer",
    ),
    (
        "gradle",
        "org.gradle.daemon=false\nrepoPassword=sesame-of-gradle\n",
        "sed -n 's/repoPassword=//p' $S | base64 | base64 -d >/leak-gradle",
    ),
    ("curlrc", "user = \"robot:sesame-of-curlrc\"\n", "sed 's/.*robot:\\(.*\\)\"/\\1/' $S >/leak-curlrc"),
    (
        "boto",
        "[default]\naws_secret_access_key = sesame/of+boto0123456\n",
        "sed -n 's/.*key = //p' $S | sed 's,/,%2F,; s,+,%2B,' >/leak-boto",
    ),
    (
        "terraform",
        "credentials \"app.team.example\" {\n  token = \"sesame-of-terraform\"\n}\n",
        "sed -n 's/.*token = \"\\(.*\\)\"/\\1/p' $S >/leak-terraform",
    ),
    ("whole", "sesame-of-a-file-with-one-line", "cat $S $S >/leak-whole"),
];
/// What stands in those files and in many a layer, and is no secret.
pub(crate) const PUBLIC: [&str; 20] = [
    "registry=https://npm.team.example/",
    "always-auth=true",
    "machine git.example",
    " login robot-user",
    "[global]",
    "https://pypi.team.example/simple",
    "apiVersion: v1",
    "- name: ci-user",
    "users:",
    "r.team.example",
    "service_account",
    "team-project",
    "<servers>",
    "<username>deployer</username>",
    "NODE_ENV=production",
    "DB_USER=postgres",
    "DB_PASSWORD=",
    "-----BEGIN RSA PRIVATE KEY-----",
    "Aw==",
    "_authToken=",
];
