//! A crate outside of the workspace that depends on osculate as README.md says, and whose programs are pasted from
//! there: each compiles, runs, and says what it should.
//!
//! It is built into the workspace's target folder, with the features and the profile of the workspace's own build, so
//! that burn is not built again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The programs by their marks in README.md, and what they print.
const PROGRAMS: [(&str, &str); 3] = [
    ("first", "step 100: loss 0."),
    ("learner", "Loss"),
    ("curvature", "largest eigenvalue"),
];

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the workspace is there")
}

/// The code block after a text.
fn block<'a>(page: &'a str, after: &str, language: &str) -> &'a str {
    let (_, rest) = page.split_once(after).expect("the mark is in README.md");
    let (_, code) = rest
        .split_once(&format!("```{language}\n"))
        .expect("a block follows");
    code.split_once("```").expect("the block ends").0
}

fn cargo(words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.args(words).arg("--offline").current_dir(folder);
    let done = command.output().expect("cargo starts");
    assert!(
        done.status.success(),
        "cargo {words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done
}

/// What a crate of the registry is asked for.
#[derive(Default)]
struct Asked {
    package: String,
    version: String,
    default_features: bool,
    features: BTreeSet<String>,
}

/// The dependencies of a crate that asks for what all members of the workspace ask for together.
fn same_build(root: &Path) -> String {
    let told = cargo(&["metadata", "--format-version", "1"], root).stdout;
    let told: Value = serde_json::from_slice(&told).expect("metadata is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_string);
    let members: Vec<Value> = list(&told["workspace_members"]);
    let active = |member: &Value, name: &str| {
        let nodes = list(&told["resolve"]["nodes"]);
        let node = nodes.iter().find(|node| node["id"] == *member);
        let deps = node.map(|node| list(&node["deps"])).unwrap_or_default();
        deps.iter().any(|dep| dep["name"] == name.replace('-', "_"))
    };
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    for package in list(&told["packages"]) {
        if !members.contains(&package["id"]) {
            continue;
        }
        for dependency in list(&package["dependencies"]) {
            let package_name = text(&dependency["name"]).expect("a name");
            let key = text(&dependency["rename"]).unwrap_or(package_name.clone());
            let of_registry = dependency["path"].is_null() && dependency["target"].is_null();
            let used = dependency["optional"] == false || active(&package["id"], &key);
            if !(of_registry && used) {
                continue;
            }
            let one = asked.entry(key).or_default();
            one.package = package_name;
            one.version = text(&dependency["req"]).expect("a version");
            one.default_features |= dependency["uses_default_features"] == true;
            one.features
                .extend(list(&dependency["features"]).iter().filter_map(text));
        }
    }
    if cfg!(feature = "wgpu") {
        let burn = asked.get_mut("burn").expect("burn is asked for");
        burn.features.insert("wgpu".to_string());
    }
    let mut lines = String::new();
    for (key, one) in asked {
        writeln!(
            lines,
            "{key} = {{ package = {:?}, version = {:?}, default-features = {}, features = {:?} }}",
            one.package,
            one.version,
            one.default_features,
            one.features.iter().collect::<Vec<_>>()
        )
        .expect("a text takes all that is written");
    }
    lines
}

#[test]
fn the_programs_of_the_readme_run_outside() {
    let root = root();
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let profiles = manifest.find("[profile.dev]").expect("there are profiles");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    // As README.md says, but for the place of the checkout and the two features for the Learner.
    let said = block(&readme, "## Add it", "toml");
    let said = said
        .replace("../osculate/", &format!("{}/", root.display()))
        .replace(
            "/crates/osculate\" }",
            "/crates/osculate\", features = [\"train\"] }",
        )
        .replace(
            "features = [\"std\", \"optim\"]",
            "features = [\"std\", \"optim\", \"train\"]",
        );
    assert!(
        said.contains("\"train\"] }") && said.contains("\"optim\", \"train\"]"),
        "{said}"
    );
    let mut stranger = format!(
        "[package]\nname = \"stranger\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n{said}\n\
         same-build = {{ path = \"same-build\" }}\n"
    );
    for (name, _) in PROGRAMS {
        let mark = format!("<!-- program: {name} -->");
        write(&format!("src/{name}.rs"), block(&readme, &mark, "rust"));
        write!(
            stranger,
            "\n[[bin]]\nname = \"{name}\"\npath = \"src/{name}.rs\"\n"
        )
        .expect("a text takes all that is written");
    }
    write(
        "Cargo.toml",
        &format!("{stranger}\n{}", &manifest[profiles..]),
    );
    write("same-build/src/lib.rs", "");
    write(
        "same-build/Cargo.toml",
        &format!(
            "[package]\nname = \"same-build\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{}",
            same_build(&root)
        ),
    );
    let locked = std::fs::read_to_string(root.join("Cargo.lock")).expect("Cargo.lock");
    write("Cargo.lock", &locked);
    let program = std::env::current_exe().expect("this program has a path");
    let target = program.ancestors().nth(3).expect("target/debug/deps");
    let target = target.to_str().expect("a path of text");
    cargo(&["build", "--target-dir", target], folder.path());
    for (name, expected) in PROGRAMS {
        let done = Command::new(Path::new(target).join("debug").join(name))
            .current_dir(folder.path())
            .env("BURN_DEVICE", "flex")
            .output()
            .expect("the program starts");
        let told = String::from_utf8_lossy(&done.stdout);
        let complained = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{name}: {told}\n{complained}");
        assert!(
            told.contains(expected) || complained.contains(expected),
            "{name}: {told}\n{complained}"
        );
    }
}
