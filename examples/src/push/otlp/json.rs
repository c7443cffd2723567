//! The messages of an export in OTLP's JSON: keys in camel case, ids in hexadecimal, 64-bit numbers as text or as they
//! are. Keys that nobody knows are ignored, and `null` is a field that is not there.

mod seeds;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess};

use super::super::PushError;
use super::super::json::Reader;
use super::super::room::Room;
use super::any::{Any, KeyValue};
use super::record::{LogRecord, ResourceFields, ResourceLogs, ScopeFields, ScopeLogs};
use super::{Record, Resource, Scope};
use seeds::{Double, List, Message, Number, Object, Text, Truth, Unless};

/// The resources of an `ExportLogsServiceRequest`.
pub(super) fn resources<'a>(text: &'a [u8], room: &mut Room) -> Result<Vec<Resource<'a>>, PushError> {
    let mut reader = Reader::new(room);
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = Object::<Request<'_>>(&mut reader, PhantomData).deserialize(&mut json);
    let read = read.and_then(|request| json.end().map(|()| request));
    reader.finish(read)
}

/// Steps over a value that nobody asked for.
fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

fn list<'de, T: Message<'de>, A: MapAccess<'de>>(
    map: &mut A,
    reader: &mut Reader<'_>,
) -> Result<Vec<T::Done>, A::Error> {
    map.next_value_seed(List::<T>(reader, PhantomData))
}

fn object<'de, T: Message<'de>, A: MapAccess<'de>>(
    map: &mut A,
    reader: &mut Reader<'_>,
) -> Result<T::Done, A::Error> {
    map.next_value_seed(Object::<T>(reader, PhantomData))
}

fn text<'de, A: MapAccess<'de>>(map: &mut A, reader: &mut Reader<'_>) -> Result<Cow<'de, str>, A::Error> {
    map.next_value_seed(Text(reader))
}

fn number<'de, T, A: MapAccess<'de>>(map: &mut A) -> Result<T, A::Error>
where
    T: FromStr + TryFrom<i64> + TryFrom<u64> + Default,
{
    map.next_value_seed(Number(PhantomData))
}

/// Messages that are what they were read into.
macro_rules! done_as_it_is {
    ($done:ty) => {
        type Done = $done;
        fn done<E: Error>(self, _: &mut Reader<'_>) -> Result<Self::Done, E> {
            Ok(self)
        }
    };
}

#[derive(Default)]
struct Request<'a>(Vec<Resource<'a>>);

impl<'de> Message<'de> for Request<'de> {
    const WHAT: &'static str = "an object with resourceLogs";
    type Done = Vec<Resource<'de>>;

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "resourceLogs" => self.0 = list::<ResourceLogs<'de>, A>(map, reader)?,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn done<E: Error>(self, _: &mut Reader<'_>) -> Result<Self::Done, E> {
        Ok(self.0)
    }
}

impl<'de> Message<'de> for ResourceLogs<'de> {
    const WHAT: &'static str = "an object with resource and scopeLogs";
    type Done = Resource<'de>;

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "resource" => self.resource = object::<ResourceFields<'de>, A>(map, reader)?,
            "scopeLogs" => self.scopes = list::<ScopeLogs<'de>, A>(map, reader)?,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn done<E: Error>(self, reader: &mut Reader<'_>) -> Result<Self::Done, E> {
        reader.within(|room| self.done(room))
    }
}

impl<'de> Message<'de> for ResourceFields<'de> {
    const WHAT: &'static str = "a resource";
    done_as_it_is!(Self);

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "attributes" => self.attributes = list::<KeyValue<'de>, A>(map, reader)?,
            "droppedAttributesCount" => self.dropped = number(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for ScopeLogs<'de> {
    const WHAT: &'static str = "an object with scope and logRecords";
    type Done = Scope<'de>;

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "scope" => self.scope = object::<ScopeFields<'de>, A>(map, reader)?,
            "logRecords" => self.records = list::<LogRecord<'de>, A>(map, reader)?,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn done<E: Error>(self, reader: &mut Reader<'_>) -> Result<Self::Done, E> {
        reader.within(|room| self.done(room))
    }
}

impl<'de> Message<'de> for ScopeFields<'de> {
    const WHAT: &'static str = "a scope";
    done_as_it_is!(Self);

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "name" => self.name = text(map, reader)?,
            "version" => self.version = text(map, reader)?,
            "attributes" => self.attributes = list::<KeyValue<'de>, A>(map, reader)?,
            "droppedAttributesCount" => self.dropped = number(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for LogRecord<'de> {
    const WHAT: &'static str = "a log record";
    type Done = Record<'de>;

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "timeUnixNano" => self.time_ns = number(map)?,
            "observedTimeUnixNano" => self.observed_ns = number(map)?,
            "severityNumber" => self.severity = number(map)?,
            "severityText" => self.severity_text = text(map, reader)?,
            "eventName" => self.event = text(map, reader)?,
            "body" => self.body = object::<Any<'de>, A>(map, reader)?,
            "attributes" => self.attributes = list::<KeyValue<'de>, A>(map, reader)?,
            "droppedAttributesCount" => self.dropped = number(map)?,
            "flags" => self.flags = number(map)?,
            "traceId" => self.trace_id = id(text(map, reader)?),
            "spanId" => self.span_id = id(text(map, reader)?),
            _ => skip(map)?,
        }
        Ok(())
    }

    fn done<E: Error>(self, reader: &mut Reader<'_>) -> Result<Self::Done, E> {
        reader.within(|room| self.done(room))
    }
}

fn id(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|digit| digit == b'0') { Cow::Borrowed("") } else { text }
}

impl<'de> Message<'de> for KeyValue<'de> {
    const WHAT: &'static str = "an attribute with key and value";
    done_as_it_is!(Self);

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "key" => self.key = text(map, reader)?,
            "value" => self.value = object::<Any<'de>, A>(map, reader)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Message<'de> for Any<'de> {
    const WHAT: &'static str = "an object with a value such as stringValue";
    done_as_it_is!(Self);

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        let value = match key {
            "stringValue" => map.next_value_seed(Unless(Text(reader)))?.map(Self::Text),
            "boolValue" => map.next_value_seed(Unless(Truth))?.map(Self::Bool),
            "intValue" => map.next_value_seed(Unless(Number(PhantomData)))?.map(Self::Int),
            "doubleValue" => map.next_value_seed(Unless(Double))?.map(Self::Double),
            "arrayValue" => {
                let seed = Object::<Values<'de, Self>>(reader, PhantomData);
                map.next_value_seed(Unless(seed))?.map(Self::List)
            }
            "kvlistValue" => {
                let seed = Object::<Values<'de, KeyValue<'de>>>(reader, PhantomData);
                map.next_value_seed(Unless(seed))?.map(Self::Map)
            }
            "bytesValue" => match map.next_value_seed(Unless(Text(reader)))? {
                Some(text) => {
                    reader.decoded(text.len() / 4 * 3)?;
                    let bytes = STANDARD.decode(text.as_bytes());
                    let bytes = bytes.map_err(|_| A::Error::custom("bytesValue is no base64"))?;
                    Some(Self::Bytes(Cow::Owned(bytes)))
                }
                None => None,
            },
            _ => return skip(map),
        };
        if let Some(value) = value {
            *self = value;
        }
        Ok(())
    }
}

/// `ArrayValue` and `KeyValueList`.
struct Values<'de, T: Message<'de>>(Vec<T::Done>);

impl<'de, T: Message<'de>> Default for Values<'de, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Message<'de>> Message<'de> for Values<'de, T> {
    const WHAT: &'static str = "an object with values";
    type Done = Vec<T::Done>;

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error> {
        match key {
            "values" => self.0 = list::<T, A>(map, reader)?,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn done<E: Error>(self, _: &mut Reader<'_>) -> Result<Self::Done, E> {
        Ok(self.0)
    }
}
