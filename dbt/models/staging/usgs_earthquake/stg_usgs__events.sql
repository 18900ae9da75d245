with

events as (
    select * from {{ source('usgs_earthquake', 'events') }}
),

renamed as (
    select
        id as event_id,
        net as network_id,
        code as network_event_code,
        _batch_id as batch_id,

        title,
        place,
        type as event_type,
        magType as magnitude_type,
        status as review_status,
        alert as pager_alert,
        ids as event_ids,
        sources as network_ids,
        types as product_types,
        url as event_url,
        detail as detail_url,
        _extra as extra_json,

        mag as magnitude,
        longitude as longitude_degrees,
        latitude as latitude_degrees,
        depth as depth_km,
        sig as significance,
        felt as felt_reports,
        cdi as reported_intensity,
        mmi as estimated_intensity,
        nst as station_count,
        dmin as nearest_station_degrees,
        gap as azimuthal_gap_degrees,
        rms as residual_rms_seconds,
        tz as utc_offset_minutes,

        tsunami = 1 as is_tsunami_candidate,
        coalesce(_is_deleted, false) as is_deleted,

        time as occurred_at,
        updated as updated_at,
        _inserted_at as inserted_at,
    from events
),

final as (
    select * from renamed
)

select * from final
