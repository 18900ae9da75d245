with

loads as (
    select * from {{ source('operations', 'loads') }}
),

-- Without `known_digests`, which only the next look reads.
renamed as (
    select
        batch_id,

        source,
        table_name,
        mode,
        state,
        schema_fingerprint,
        code_version,
        message,

        extracted as extracted_row_count,
        already_seen as already_seen_row_count,
        inserted as inserted_row_count,
        updated as updated_row_count,
        unchanged as unchanged_row_count,
        older as older_row_count,
        duplicate as duplicate_row_count,
        deleted as deleted_row_count,
        superseded_ids as renamed_row_count,
        absent as absent_row_count,
        held as held_row_count,
        replaced as replaced_row_count,
        rejected as rejected_row_count,
        rejected_before as known_reject_count,
        rejected_unexpected as unexpected_reject_count,
        unparsed as unparsed_row_count,
        source_count as source_row_count,
        total as listing_row_count,
        depth as listing_depth_row_count,
        requests as request_count,
        size_bytes as landed_bytes,

        window_start as window_started_at,
        window_end as window_ended_at,
        watermark as watermark_at,
        observed_at,
        extract_started_at,
        extract_ended_at,
        applied_at,
    from loads
),

final as (
    select * from renamed
)

select * from final
