//! gRPC's framing of one unary call (grpc.io, "gRPC over HTTP2"): a message behind five bytes, and a status in the trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use prost::Message;

pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// gRPC's status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unauthenticated = 16,
}

/// The one message of a call; it must not be compressed, for nobody offered that.
pub(super) fn message(frame: &Bytes) -> Option<Bytes> {
    let (flag, length) = (frame.first()?, frame.get(1..5)?);
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let message = frame.slice(5..);
    (*flag == 0 && u32::try_from(message.len()) == Ok(length)).then_some(message)
}

/// A message, and that all is well.
pub(super) fn answer(message: &impl Message) -> Response<Body> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A BytesMut grows as it must.
    let _ = message.encode(&mut frame);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(Code::Ok as u16));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    respond(body.boxed_unsync())
}

/// No message: why, in the headers, which are the trailers then.
pub(super) fn failed(code: Code) -> Response<Body> {
    let mut response = respond(Empty::new().boxed_unsync());
    response
        .headers_mut()
        .insert("grpc-status", HeaderValue::from(code as u16));
    response
}

fn respond(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_one_whole_message() {
        let frame = |bytes: &[u8]| message(&Bytes::copy_from_slice(bytes));
        assert_eq!(frame(b"\0\0\0\0\x02ab").as_deref(), Some(&b"ab"[..]));
        assert_eq!(frame(b"\0\0\0\0\0").as_deref(), Some(&b""[..]));
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02ab",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x01ab",
        ] {
            assert_eq!(frame(bad), None, "{bad:?}");
        }
    }
}
