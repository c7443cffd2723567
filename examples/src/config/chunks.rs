//! What chunks are written in, under the words of a configuration, and the sizes that go with it.

use forebay_chunk::{BuilderOptions, Codec, Profile};
use forebay_tenant::yaml::{Error, Node};
use serde::{Serialize, Serializer};

use super::Config;

/// What chunks are written in. What is read is told from its bytes, whatever is written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkFormat {
    /// What Loki writes and reads.
    #[default]
    Loki,
    /// `forebay-chunk`'s own, which takes fewer bytes, and which Loki does not read.
    Columnar,
}

const PROFILES: [(&str, Profile); 3] =
    [("fast", Profile::Fast), ("balanced", Profile::Balanced), ("archive", Profile::Archive)];

/// Gives the sizes of chunks the defaults of the format that `root`, a whole configuration, asks for. What makes no sense
/// is left to whoever reads the rest.
pub(super) fn default_sizes(config: &mut Config, root: &Node) {
    let named = |name: &str| root.get("ingester").and_then(|ingester| ingester.get(name));
    if named("chunk_format").and_then(|node| format(node).ok()) == Some(ChunkFormat::Columnar) {
        let profile = named("chunk_profile").and_then(|node| profile(node).ok()).unwrap_or_default();
        let BuilderOptions { block_size, target_size, .. } = BuilderOptions::columnar(profile);
        config.ingester.chunk_block_size = block_size as u64;
        config.ingester.chunk_target_size = target_size as u64;
    }
}

pub(super) fn format(node: &Node) -> Result<ChunkFormat, Error> {
    match node.str()? {
        "loki" => Ok(ChunkFormat::Loki),
        "columnar" => Ok(ChunkFormat::Columnar),
        _ => Err(node.expected("loki or columnar")),
    }
}

pub(super) fn profile(node: &Node) -> Result<Profile, Error> {
    let name = node.str()?;
    let found = PROFILES.iter().find(|(known, _)| *known == name);
    found.map(|(_, profile)| *profile).ok_or_else(|| node.expected("fast, balanced or archive"))
}

pub(super) fn show_profile<S: Serializer>(profile: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
    let found = PROFILES.iter().find(|(_, known)| known == profile);
    serializer.serialize_str(found.map_or("", |(name, _)| name))
}

pub(super) fn codec(node: &Node) -> Result<Codec, Error> {
    let codec = node.str()?.parse().ok().filter(|codec: &Codec| codec.is_supported());
    codec.ok_or_else(|| {
        let known = Codec::ALL.iter().filter(|codec| codec.is_supported()).map(|codec| codec.as_str());
        node.expected(format!("one of {}", known.collect::<Vec<_>>().join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> (ChunkFormat, u64, u64) {
        let (config, warnings) = Config::parse(text).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(Config::parse(&config.to_yaml()).unwrap().0, config, "{text}");
        let ingester = config.ingester;
        (ingester.chunk_format, ingester.chunk_block_size, ingester.chunk_target_size)
    }

    #[test]
    fn sizes_that_are_not_given_are_those_of_the_format() {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let (loki, columnar) = (ChunkFormat::Loki, ChunkFormat::Columnar);
        for (text, expected) in [
            ("{}", (loki, 256 * KIB, 1536 * KIB)),
            ("ingester: {chunk_profile: archive}", (loki, 256 * KIB, 1536 * KIB)),
            ("ingester: {chunk_format: columnar}", (columnar, MIB, 2 * MIB)),
            ("ingester: {chunk_profile: fast, chunk_format: columnar}", (columnar, MIB, 2 * MIB)),
            ("ingester: {chunk_format: columnar, chunk_profile: archive}", (columnar, 8 * MIB, 16 * MIB)),
            ("ingester: {chunk_block_size: 64KiB, chunk_format: columnar}", (columnar, 64 * KIB, 2 * MIB)),
            (
                "ingester: {chunk_target_size: 1MiB, chunk_format: columnar, chunk_block_size: 64KiB}",
                (columnar, 64 * KIB, MIB),
            ),
        ] {
            assert_eq!(sizes(text), expected, "{text}");
        }
    }

    #[test]
    fn every_name_of_a_profile_and_a_codec_is_read_back() {
        for (name, profile) in PROFILES {
            let (config, _) = Config::parse(&format!("ingester: {{chunk_profile: {name}}}")).unwrap();
            assert_eq!(config.ingester.chunk_profile, profile);
            assert_eq!(Config::parse(&config.to_yaml()).unwrap().0, config);
        }
        for codec in Codec::ALL {
            let (config, _) = Config::parse(&format!("ingester: {{chunk_encoding: {codec}}}")).unwrap();
            assert_eq!(config.ingester.chunk_encoding, codec);
            assert_eq!(Config::parse(&config.to_yaml()).unwrap().0, config);
        }
    }
}
