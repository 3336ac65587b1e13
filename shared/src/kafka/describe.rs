//! What the brokers say of one topic, its id included. The Kafka library offers the question to C only.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::error::{IsError as _, KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;

/// A topic as the brokers have it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// The id that it was given when it was made, as Kafka's own tools print it. Brokers before 2.8 give none.
    pub id: Option<String>,
    /// Its partitions, and the broker that leads each, if any does.
    pub partitions: Vec<(i32, Option<i32>)>,
}

/// How long brokers have to describe a topic, before they are asked for their metadata, which has no ids.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks for a topic, `None` where there is none of this name. It is not created by that. Blocks.
///
/// # Errors
/// The brokers do not answer in time, or do not let us know.
pub fn describe<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> KafkaResult<Option<Topic>> {
    match describe_with_id(client, topic, timeout.min(DESCRIBE_TIMEOUT)) {
        // The broker that is embedded for want of Java never answers this question, but the other one.
        Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)) => describe_without_id(client, topic, timeout),
        described => described,
    }
}

fn describe_without_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Option<Topic>> {
    // To ask for a topic by name would let brokers create it with their own defaults.
    let metadata = client.fetch_metadata(None, timeout)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && !found.partitions().is_empty());
    let partitions = |found: &MetadataTopic| {
        let leaders = found.partitions().iter();
        leaders.map(|partition| (partition.id(), Some(partition.leader()).filter(|leader| *leader >= 0))).collect()
    };
    Ok(found.map(|found| Topic { id: None, partitions: partitions(found) }))
}

fn describe_with_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Option<Topic>> {
    let name = CString::new(topic).map_err(KafkaError::Nul)?;
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    #[expect(unsafe_code, reason = "the library offers it to C only")]
    // SAFETY: The client outlives the question, and all that the library hands out is destroyed here, once, the queue after its event.
    unsafe {
        let rk = client.native_ptr();
        let options = c::rd_kafka_AdminOptions_new(rk, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        // Fails for times that no clock of ours has; the default is good as well.
        c::rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, std::ptr::null_mut(), 0);
        let topics = c::rd_kafka_TopicCollection_of_topic_names([name.as_ptr()].as_mut_ptr(), 1);
        let queue = c::rd_kafka_queue_new(rk);
        c::rd_kafka_DescribeTopics(rk, topics, options, queue);
        // The answer, or that there is none, comes by the timeout of the request itself.
        let event = NonNull::new(c::rd_kafka_queue_poll(queue, milliseconds.saturating_mul(2)));
        let described = event.map_or(Err(error(RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT)), |event| {
            let described = read(event);
            c::rd_kafka_event_destroy(event.as_ptr());
            described
        });
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_TopicCollection_destroy(topics);
        c::rd_kafka_AdminOptions_destroy(options);
        described
    }
}

#[expect(unsafe_code, reason = "the library offers it to C only")]
unsafe fn read(event: NonNull<c::rd_kafka_event_t>) -> KafkaResult<Option<Topic>> {
    // SAFETY: Everything that is read belongs to the event, which the caller keeps meanwhile.
    unsafe {
        let code = c::rd_kafka_event_error(event.as_ptr());
        if code.is_error() {
            return Err(error(code));
        }
        let mut count = 0;
        let result = c::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count != 1 {
            return Err(error(RDKafkaRespErr::RD_KAFKA_RESP_ERR__BAD_MSG));
        }
        let topic = *topics;
        match c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic)) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Ok(None),
            code if code.is_error() => return Err(error(code)),
            _ => {}
        }
        let partitions = c::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = (0..count).map(|index| {
            let partition = *partitions.add(index);
            let leader = NonNull::new(c::rd_kafka_TopicPartitionInfo_leader(partition).cast_mut());
            let leader = leader.map(|leader| c::rd_kafka_Node_id(leader.as_ptr()));
            (c::rd_kafka_TopicPartitionInfo_partition(partition), leader)
        });
        let partitions = partitions.collect();
        Ok(Some(Topic { id: id(c::rd_kafka_TopicDescription_topic_id(topic)), partitions }))
    }
}

/// All zeros stand for no id.
#[expect(unsafe_code, reason = "the library offers it to C only")]
unsafe fn id(uuid: *const c::rd_kafka_Uuid_t) -> Option<String> {
    // SAFETY: The id belongs to the event, which the caller keeps meanwhile.
    unsafe {
        let halves = [c::rd_kafka_Uuid_most_significant_bits(uuid), c::rd_kafka_Uuid_least_significant_bits(uuid)];
        if halves == [0, 0] {
            return None;
        }
        let text = NonNull::new(c::rd_kafka_Uuid_base64str(uuid).cast_mut())?;
        Some(std::ffi::CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
    }
}

fn error(code: RDKafkaRespErr) -> KafkaError {
    KafkaError::AdminOp(RDKafkaErrorCode::from(code))
}
