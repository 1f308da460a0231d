//! The published JSON schemas, `src/report/schemas/*.schema.json`: made from the very types that are written, and compared
//! here.

use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::check::CheckReport;
use super::explanation::Explanation;
use super::seal::SealReport;
use super::{Report, sample, sample_check};
use crate::manifest::Manifest;

fn schema<T: JsonSchema>(title: &str) -> Schema {
    // What is written, as opposed to what is read: all fields are there.
    let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    schema
}

fn is_published(file: &str, schema: &Schema) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/schemas").join(file);
    let made = serde_json::to_string_pretty(schema).unwrap() + "\n";
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    if published != made {
        let right = std::env::temp_dir().join(file);
        std::fs::write(&right, made).unwrap();
        panic!("{} is not the schema of what is written: that is in {}", path.display(), right.display());
    }
}

#[test]
fn what_is_published_is_what_is_written() {
    is_published("report.schema.json", &schema::<Report>("cachewarm warm and cachewarm smoke, schema 1"));
    is_published("check.schema.json", &schema::<CheckReport>("cachewarm check, schema 1"));
    is_published("seal.schema.json", &schema::<SealReport>("cachewarm seal, schema 1"));
    is_published("explain.schema.json", &schema::<Explanation>("cachewarm explain, schema 1"));
    is_published("manifest.schema.json", &schema::<Manifest>("The manifest of cachewarm warm, schema 1"));
}

/// Every field that a report has is in its schema, and the other way round: serde and the schema read the same types.
#[test]
fn the_samples_have_the_fields_of_their_schemas() {
    let properties = |schema: Schema| {
        let properties = schema.get("properties").and_then(serde_json::Value::as_object).unwrap();
        properties.keys().cloned().collect::<std::collections::BTreeSet<String>>()
    };
    let fields = |json: serde_json::Value| json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(properties(schema::<Report>("")), fields(serde_json::to_value(sample::warm()).unwrap()));
    assert_eq!(properties(schema::<CheckReport>("")), fields(serde_json::to_value(sample_check::checked()).unwrap()));
    assert_eq!(properties(schema::<SealReport>("")), fields(serde_json::to_value(sample_check::sealed()).unwrap()));
}
